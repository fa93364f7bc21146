"""A small causal language model of the Pythia architecture, trained on demand and cached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from narrows.activations.contexts import ContextOptions, build
from narrows.core.check import RequestError, optional, refuse, whole
from narrows.core.progress import Progress, Silent
from narrows.runs.harvesting.inputs import of_text
from narrows.testing.small_lm import batches, cached, keep, neox, train

__all__ = ["tiny_lm"]

_VERSION = 1
_END = "<|endoftext|>"


def tiny_lm(
    text: str | Path | Sequence[str] = "bundled",
    *,
    width: int = 128,
    layers: int = 4,
    heads: int = 4,
    context: int = 128,
    vocabulary: int = 1024,
    steps: int = 800,
    batch_size: int = 16,
    lr: float = 3e-3,
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Train a GPT-NeoX-type language model on a text, or load it from the cache.

    At its defaults it takes two to three minutes of one core's time. The same arguments give the same model
    on the same machine.

    Args:
        text: ``bundled``, ``wikitext``, ``shakespeare``, a path, or documents; a string of more than one
            line is the text itself.
        width: width of the residual stream.
        layers: number of blocks.
        heads: number of attention heads of a block.
        context: number of positions.
        vocabulary: tokens of the byte-level BPE tokenizer that is trained on the text first.
        steps: number of steps of AdamW.
        batch_size: contexts per step.
        lr: learning rate, warmed up over a twentieth of the steps, then a cosine to a tenth.
        seed: seed of initialisation and order.
        progress: show a progress bar.

    Returns:
        A folder in the format of transformers, in the cache folder; `narrows.activations.models.load`,
        `narrows.harvest` and ``AutoModelForCausalLM.from_pretrained`` take it.

    Raises:
        RequestError: the text is shorter than a batch.
        WorkError: transformers is not installed.
    """
    transformers = optional("transformers", "language", "train a small language model")
    if width % heads:
        raise refuse("heads", heads, f"a divisor of the width, {width}")
    reads = of_text(text, "text", "file")
    told = [_VERSION, reads.sha256, width, layers, heads, context, vocabulary, steps, batch_size, lr, seed]
    folder = cached("tiny", told)
    if (folder / "config.json").is_file():
        return folder
    documents = list(reads.documents())
    tokenizer = _tokenizer(
        transformers, [piece for piece, _ in documents], whole("vocabulary", vocabulary, low=260)
    )
    contexts = build(documents, tokenizer, ContextOptions(length=context))
    rows = (
        torch.from_numpy(contexts.tokens[: len(contexts.tokens) // context * context])
        .view(-1, context)
        .long()
    )
    if len(rows) < batch_size:
        raise RequestError(
            f"The text {reads.name} has {len(rows)} contexts of {context}, but a batch needs {batch_size}."
        )
    with torch.random.fork_rng(devices=[]), Progress() if progress else Silent() as shown:
        torch.manual_seed(seed)
        model = neox(transformers, tokenizer, width, layers, heads, context)
        train(model, batches(rows, batch_size, steps), steps, lr, shown)
    keep(folder, model.eval(), tokenizer)
    return folder


def _tokenizer(transformers: Any, pieces: Sequence[str], size: int) -> Any:
    """A byte-level BPE tokenizer of the text."""
    tokenizers = optional("tokenizers", "language", "train a tokenizer")
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[_END],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(pieces, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=_END, eos_token=_END)
