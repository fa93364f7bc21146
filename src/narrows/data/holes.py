"""Holes made on purpose: cells of a table that are hidden, their truth kept beside for judging."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from narrows.core.check import RequestError, number, refuse
from narrows.data.dataset import Dataset, Source

__all__ = ["HIDDEN", "hidden_truth", "hide", "with_holes"]

HIDDEN = "hidden"
"""The column that holds what the cells were before some of them were hidden."""


def hide(data: Dataset, share: float, seed: int = 0) -> Dataset:
    """Hide a share of the cells that are there, completely at random.

    The data are as if the cells had never been seen: nothing of them reaches a model. What they were stays in the
    column `HIDDEN`, (N, D) in the units of the store, which only judges read.

    Args:
        data: rows of a table, (N, D), in memory.
        share: how likely each cell is to be hidden, at least 0 and below 1.
        seed: the same seed hides the same cells of the same rows.

    Raises:
        RequestError: a share out of range, or data that are no table in memory.
    """
    if number("missing", share, low=0) >= 1:
        raise refuse("missing", share, "a share of the cells, at least 0 and below 1", "A fifth is 0.2.")
    if not isinstance(data.x, Tensor) or data.x.ndim != 2:
        raise RequestError(
            "``missing`` hides cells of a table in memory, (N, D), and these data are none. Leave it out."
        )
    x = data.x if data.x.is_floating_point() else data.x.to(torch.float32)
    draws = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed))
    holed = torch.where(draws < share, torch.nan, x)
    return replace(data, x=holed, columns={**data.columns, HIDDEN: x}, holes=True)


def hidden_truth(data: Dataset, rows: Tensor | slice = slice(None)) -> Tensor | None:
    """What the cells of some rows were before some were hidden, scaled, (B, D); None where none were hidden."""
    store = data.columns.get(HIDDEN)
    return data.scaling.apply(store[rows]) if isinstance(store, Tensor) else None


def with_holes(source: Source, share: float) -> Source:
    """Data with a share of the cells hidden in both parts, the same ones each time.

    Raises:
        RequestError: a share out of range, or data that are no table.
    """
    if source.spec.kind != "table":
        raise refuse(
            "missing",
            share,
            "left out: this method reads no missing values",
            "Fit a method that reads tables with missing cells, such as `missing-iwae`.",
        )
    return replace(source, train=hide(source.train, share, 0), test=hide(source.test, share, 1))
