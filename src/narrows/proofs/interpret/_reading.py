"""Activations of small language models on the text that they were trained on, the same tokens for each."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from narrows.activations.capture import capture
from narrows.activations.contexts import ContextOptions, build
from narrows.activations.hook_points import resolve
from narrows.activations.models import load
from narrows.core import Autoencoder, Batch, Sparse, evaluation_mode, seeded
from narrows.core.evidence import Latents
from narrows.data.dataset import Dataset
from narrows.data.scaling import Scaling
from narrows.runs.harvesting.inputs import of_text
from narrows.testing.tiny_lm import tiny_lm

__all__ = ["alive", "codes", "layer", "rows_data"]

_LENGTH, _HELD = 128, 10


@lru_cache(maxsize=4)
@torch.no_grad()
def layer(at: str, untrained: bool = False, **how: Any) -> tuple[Tensor, Tensor]:
    """Activations of a small language model for training and testing, (tokens, D) each.

    The tokens are those of the bundled text, without the first position of each context; every tenth context is for
    testing. Models of one vocabulary read the same tokens, row by row.

    Args:
        at: a hook point.
        untrained: with weights as they are initialised.
        how: arguments of `narrows.testing.tiny_lm.tiny_lm`.
    """
    found = load(tiny_lm(**how), device="cpu")
    model = found.module
    if untrained:
        with seeded(0):
            model = type(model)(model.config).eval()
    documents = of_text("bundled", "text", "file").documents()
    tokens = build(documents, found.tokenizer, ContextOptions(length=_LENGTH)).tokens
    rows = torch.from_numpy(tokens[: len(tokens) // _LENGTH * _LENGTH]).view(-1, _LENGTH).long()
    places = resolve(model, at)
    seen = torch.cat([capture(model, some, places)[places[0].name] for some in rows.split(64)])[:, 1:]
    held = torch.arange(len(seen)) % _HELD == 0
    return seen[~held].flatten(0, 1).clone(), seen[held].flatten(0, 1).clone()


def rows_data(x: Tensor) -> Dataset:
    """Rows in memory as a data set of their own."""
    return Dataset(x, Scaling(), tuple(x.shape[1:]))


@torch.no_grad()
def codes(model: Autoencoder, x: Tensor) -> list[Sparse | Tensor]:
    """The sparse codes of rows, in chunks."""
    with evaluation_mode(model):
        return [model.encode(Batch(some))[Latents].z for some in x.split(2048)]


def alive(z: list[Sparse | Tensor]) -> Tensor:
    """The latents that are on in some row, (n,)."""
    on = None
    for some in z:
        full = some.dense() if isinstance(some, Sparse) else some
        new = (full != 0).any(0)
        on = new if on is None else on | new
    assert on is not None
    return on.nonzero().flatten()
