"""Artificial missing values: hidden cells of a table, with the true values for evaluation."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from narrows.core.check import RequestError, number, refuse
from narrows.data.dataset import Dataset, Source

__all__ = ["HIDDEN", "hidden_truth", "hide", "with_holes"]

HIDDEN = "hidden"
"""The column with the cells before some of them were hidden."""


def hide(data: Dataset, share: float, seed: int = 0) -> Dataset:
    """Hide a fraction of the observed cells, completely at random.

    Hidden cells are missing values, of which a model gets no information. Their true values are in the column
    `HIDDEN`, (N, D) in the units of the store, which is used for evaluation only.

    Args:
        data: rows of a table, (N, D), in memory.
        share: probability that a cell is hidden, at least 0 and below 1.
        seed: seed of the draw; the same seed hides the same cells.

    Raises:
        RequestError: a share out of range, or data that are not a table in memory.
    """
    if number("missing", share, low=0) >= 1:
        raise refuse("missing", share, "a fraction of the cells, at least 0 and below 1", "A fifth is 0.2.")
    if not isinstance(data.x, Tensor) or data.x.ndim != 2:
        raise RequestError(
            "``missing`` needs a table in memory, (N, D), and these data are not one. Leave it out."
        )
    x = data.x if data.x.is_floating_point() else data.x.to(torch.float32)
    draws = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed))
    holed = torch.where(draws < share, torch.nan, x)
    return replace(data, x=holed, columns={**data.columns, HIDDEN: x}, holes=True)


def hidden_truth(data: Dataset, rows: Tensor | slice = slice(None)) -> Tensor | None:
    """The true cells of some rows, scaled, (B, D); None if none were hidden."""
    store = data.columns.get(HIDDEN)
    return data.scaling.apply(store[rows]) if isinstance(store, Tensor) else None


def with_holes(source: Source, share: float) -> Source:
    """Data with a fraction of the cells hidden in both parts, the same cells each time.

    Raises:
        RequestError: a share out of range, or data that are not a table.
    """
    if source.spec.kind != "table":
        raise refuse(
            "missing",
            share,
            "left out: this method does not support missing values",
            "Fit a method for tables with missing cells, such as `missing-iwae`, `iwae` or `vae`.",
        )
    return replace(source, train=hide(source.train, share, 0), test=hide(source.test, share, 1))
