"""What a model does on data that it is not trained on: its losses, and what its parts find worth following."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from narrows.core import Accumulator, Autoencoder, Part, Stage, seeded
from narrows.train.cpu import Examples

__all__ = ["measured"]

_ROWS = 2048
"""So many of the first rows are looked at, each time the same."""


@torch.no_grad()
def measured(
    model: Autoencoder,
    stage: Stage,
    parts: Sequence[Part],
    examples: Examples,
    batch_size: int,
    step: int,
    device: torch.device,
) -> dict[str, Any]:
    """The first player's loss, its terms and the facts of all parts, by name, with noise of a fixed seed.

    Args:
        model: the whole.
        stage: what is being trained.
        parts: those of the stage.
        examples: data that were not trained on.
        batch_size: examples that pass at once.
        step: of the training.
        device: where batches must be.
    """
    rows = torch.arange(min(len(examples), _ROWS))
    sums: dict[str, Any] = {}
    tallies: dict[str, Accumulator] = {}
    with seeded(0):
        for chunk in rows.split(max(1, batch_size)):
            batch = examples.batch(chunk, model.conditions, device)
            batch = batch if stage.view is None else stage.view(batch)
            loss = stage.part.players()[0].loss(batch, step, None)
            seen: dict[str, Any] = {"loss": loss.total, **loss.terms}
            if loss.passed is not None:
                for part in parts:
                    seen |= part.metrics(model, loss.passed)
            for name, value in seen.items():
                if isinstance(value, Tensor):
                    sums[name] = sums.get(name, 0.0) + float(value) * len(chunk) / len(rows)
                else:
                    tallies[name] = tallies[name] + value if name in tallies else value
    for tally in tallies.values():
        sums.update(tally.read())
    return sums
