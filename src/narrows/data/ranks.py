"""Columns by ranks: a monotone map of each to a standard normal distribution, and back."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from narrows.core.check import RequestError

__all__ = ["Knots", "fit_knots", "read_knots", "through"]

Knots = tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]
"""Of each column, increasing values and what they are mapped to; linear between them, and beyond both ends."""

_KNOTS = 128
"""The largest number of knots of a column."""


def fit_knots(x: np.ndarray) -> Knots:
    r"""The map of each column to the normal quantile of its mean rank.

    .. math:: x \mapsto \Phi^{-1}\Big(\frac{\#\{i : x_i < x\} + \#\{i : x_i \le x\}}{2 N}\Big)

    at distinct values, or at most 128 of them at about equal distances of what they are mapped to; linear between
    these. Beyond the least and the largest value the slope is that of standardisation, so that far values stay far.

    Args:
        x: (N, D), finite.

    Example:
        >>> knots = fit_knots(np.array([[1.0], [2.0], [3.0]]))
        >>> through(torch.tensor([[2.0], [1.0]]), knots).float().round(decimals=3)
        tensor([[ 0.0000],
                [-0.9670]])
    """
    return tuple(_column(np.asarray(column, np.float64)) for column in x.T)


def read_knots(form: Any) -> Knots:
    """The knots from their JSON form, lists of pairs of lists.

    Raises:
        ValueError: values that do not increase, are not finite, or are not as many as those they are mapped to.
    """
    knots = tuple((tuple(map(float, at)), tuple(map(float, to))) for at, to in form)
    for at, to in knots:
        sides = np.array([at, to])
        if sides.shape[1] < 3 or not np.isfinite(sides).all() or (np.diff(sides) <= 0).any():
            raise ValueError("the knots of a column do not increase")
    return knots


def _column(x: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    values, counts = np.unique(x, return_counts=True)
    ranks = (np.cumsum(counts) - 0.5 * counts) / len(x)
    normal = torch.special.ndtri(torch.from_numpy(ranks)).numpy()
    if len(values) > _KNOTS:
        chosen = np.searchsorted(normal, np.linspace(normal[0], normal[-1], _KNOTS))
        chosen = np.unique(np.minimum(chosen, len(values) - 1))
        values, normal = values[chosen], normal[chosen]
    spread = float(x.std()) or 1.0
    at = np.concatenate([[values[0] - spread], values, [values[-1] + spread]])
    to = np.concatenate([[normal[0] - 1], normal, [normal[-1] + 1]])
    return tuple(at.tolist()), tuple(to.tolist())


def through(x: Tensor, knots: Knots, back: bool = False) -> Tensor:
    """Columns (..., D) mapped, or with `back` mapped back, in float64.

    Raises:
        RequestError: another number of columns than the knots have.
    """
    if x.shape[-1] != len(knots):
        raise RequestError(f"There are {x.shape[-1]} columns, but the scaling by ranks is of {len(knots)}.")
    at, to = _table(knots)
    if back:
        at, to = to, at
    columns = x.to(torch.float64).reshape(-1, len(knots)).T.contiguous()
    right = torch.searchsorted(at, columns).clamp(1, at.shape[1] - 1)
    low, high = at.gather(1, right - 1), at.gather(1, right)
    start, end = to.gather(1, right - 1), to.gather(1, right)
    mapped = start + (columns - low) / (high - low) * (end - start)
    return mapped.T.reshape(x.shape)


@cache
def _table(knots: Knots) -> tuple[Tensor, Tensor]:
    """The knots as two tensors (D, Q); shorter columns are continued at their last slope."""
    most = max(len(at) for at, _ in knots)
    rows = []
    for side in (0, 1):
        padded = []
        for pair in knots:
            values = np.array(pair[side])
            more = np.arange(1, most - len(values) + 1) * (values[-1] - values[-2])
            padded.append(np.concatenate([values, values[-1] + more]))
        rows.append(torch.from_numpy(np.stack(padded)))
    return rows[0], rows[1]
