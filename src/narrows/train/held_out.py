"""Evaluation on held-out data: the losses, and the metrics of all modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from narrows.core import Accumulator, Autoencoder, Part, Stage, seeded
from narrows.train.cpu import Examples

__all__ = ["evaluate"]

_ROWS = 2048
"""The number of rows, always the first ones."""


@torch.no_grad()
def evaluate(
    model: Autoencoder,
    stage: Stage,
    parts: Sequence[Part],
    examples: Examples,
    batch_size: int,
    step: int,
    device: torch.device,
) -> dict[str, Any]:
    """The first player's loss, its terms and the metrics of all modules, by name, with a fixed seed.

    Args:
        model: the model.
        stage: the stage that is trained.
        parts: the modules of the stage.
        examples: the held-out data.
        batch_size: number of examples of a batch.
        step: the training step.
        device: the device of the batches.
    """
    rows = torch.arange(min(len(examples), _ROWS))
    sums: dict[str, Any] = {}
    accumulators: dict[str, Accumulator] = {}
    with seeded(0):
        for chunk in rows.split(max(1, batch_size)):
            batch = examples.batch(chunk, model.all_conditions, device)
            batch = batch if stage.view is None else stage.view(batch)
            loss = stage.part.players()[0].loss(batch, step, None)
            values: dict[str, Any] = {"loss": loss.total, **loss.terms}
            if loss.passed is not None:
                for part in parts:
                    values |= part.metrics(model, loss.passed)
            for name, value in values.items():
                if isinstance(value, Tensor):
                    sums[name] = sums.get(name, 0.0) + float(value) * len(chunk) / len(rows)
                else:
                    known = accumulators.get(name)
                    accumulators[name] = value if known is None else known + value
    for accumulator in accumulators.values():
        sums.update(accumulator.read())
    return sums
