"""A small causal model with its tokenizer, saved in a folder; and one for images."""

import pytest
import torch

transformers = pytest.importorskip("transformers")

from narrows.activations.models import quietly  # noqa: E402
from narrows.testing import tiny_lm  # noqa: E402

TEXT = [
    "The narrow strait opens to a wide and quiet sea. " * 6,
    "A boat went out at dawn.",
    "Nobody saw it again, but the lamps were lit every night. " * 3,
] * 6


@pytest.fixture(scope="session")
def lm(tmp_path_factory):
    """The folder of a language model that was trained for 20 steps."""
    patch = pytest.MonkeyPatch()
    patch.setenv("NARROWS_CACHE", str(tmp_path_factory.mktemp("cache")))
    sizes = {
        "width": 16,
        "layers": 3,
        "heads": 4,
        "context": 24,
        "vocabulary": 300,
        "steps": 20,
        "batch_size": 4,
    }
    yield tiny_lm(TEXT, **sizes)
    patch.undo()


@pytest.fixture(scope="session")
def vit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
    with torch.random.fork_rng(), quietly():
        torch.manual_seed(0)
        config = transformers.ViTConfig(**sizes, image_size=16, patch_size=8)
        transformers.ViTModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def text():
    return TEXT
