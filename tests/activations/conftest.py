"""Small models with random weights, of each architecture, and folders that hold one."""

import pytest
import torch

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 32}
TEXT = {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 0}
KINDS = {
    "llama": (
        transformers.LlamaConfig,
        transformers.LlamaForCausalLM,
        {**SMALL, **TEXT, "num_key_value_heads": 2},
    ),
    "neox": (transformers.GPTNeoXConfig, transformers.GPTNeoXForCausalLM, {**SMALL, **TEXT}),
    "gpt2": (
        transformers.GPT2Config,
        transformers.GPT2LMHeadModel,
        {**TEXT, "n_embd": 16, "n_layer": 3, "n_head": 4},
    ),
    "gemma2": (
        transformers.Gemma2Config,
        transformers.Gemma2ForCausalLM,
        {**SMALL, **TEXT, "num_key_value_heads": 2, "head_dim": 4},
    ),
    "bert": (transformers.BertConfig, transformers.BertModel, {**SMALL, "vocab_size": 50}),
    "vit": (transformers.ViTConfig, transformers.ViTModel, {**SMALL, "image_size": 8, "patch_size": 4}),
}


def made(kind):
    config, model, options = KINDS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return model(config(**options)).eval()


@pytest.fixture(scope="session")
def tiny():
    """A model of one kind, made once; tests leave it as it is."""
    kept = {}

    def get(kind):
        if kind not in kept:
            kept[kind] = made(kind)
        return kept[kind]

    return get


@pytest.fixture
def fresh():
    """A model of one kind that a test may change."""
    return made


@pytest.fixture
def ids():
    return torch.randint(1, 50, (2, 7), generator=torch.Generator().manual_seed(1))
