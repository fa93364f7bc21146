"""Artificial missing values: hidden values of tables and arrays, with the true values for evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from narrows.core.check import RequestError, choice, number, refuse
from narrows.data.dataset import Dataset, Source
from narrows.data.mapped import on_disk
from narrows.data.raw import Raw

__all__ = [
    "HIDDEN",
    "WORLDS",
    "by_itself",
    "by_other",
    "hidden_truth",
    "hide",
    "share_of",
    "with_holes",
    "with_missing",
]

HIDDEN = "hidden"
"""The column with the values before some of them were hidden."""

WORLDS = ("random", "other", "self")
"""Why values are missing: completely at random; by another column, which is observed; by their own value."""


def hide(data: Dataset, share: float, seed: int = 0, world: str = "random") -> Dataset:
    """Hide a fraction of the observed values.

    Hidden values are missing ones, of which a model gets no information. Their true values are in the column
    `HIDDEN`, in the units of the store, which is used for evaluation only.

    Args:
        data: rows of a table, (N, D), or arrays (N, ...), in memory.
        share: probability that a value is hidden, at least 0 and below 1; the mean probability in other worlds.
        seed: seed of the draw; the same seed hides the same values.
        world: ``random``: completely at random. ``other``: half of the columns, drawn with the seed, remain
            observed, and each of the others is hidden by one of them, see `by_other`. ``self``: larger values are
            hidden more often, see `by_itself`.

    Raises:
        RequestError: a share out of range, an unknown world, or data that are not in memory.
    """
    if number("missing", share, low=0) >= 1:
        raise refuse("missing", share, "a fraction of the cells, at least 0 and below 1", "A fifth is 0.2.")
    choice("missing", world, WORLDS)
    if not isinstance(data.x, Tensor) or data.x.ndim < 2:
        raise RequestError(
            "``missing`` needs a table or arrays in memory, and these data are not. Leave it out."
        )
    x = data.x if data.x.is_floating_point() else data.x.to(torch.float32)
    generator = torch.Generator().manual_seed(seed)
    if world == "random":
        hidden = torch.rand(x.shape, generator=generator) < share
    else:
        columns = x.flatten(1)
        chance = by_itself(columns, share) if world == "self" else _by_others(columns, share, generator)
        hidden = (torch.rand(columns.shape, generator=generator) < chance).view_as(x)
    holed = torch.where(hidden, torch.nan, x)
    return replace(data, x=holed, columns={**data.columns, HIDDEN: data.x}, holes=True)


def by_itself(x: Tensor, share: float) -> Tensor:
    r"""Probabilities that values are hidden that increase with the value: missing not at random.

    .. math:: P(s_{nd} = 0) = \rho + \min(\rho, 1 - \rho)\,(2 u_{nd} - 1)

    Here u is the rank of a value in its column, from 0 to 1, of equal values the mean one. The mean probability of
    each column is the share :math:`\rho`.

    Args:
        x: columns (N, D), NaN for missing values.
        share: :math:`\rho`.

    Example:
        >>> by_itself(torch.tensor([[1.0], [2.0], [3.0], [9.0]]), 0.2)[:, 0]
        tensor([0.0500, 0.1500, 0.2500, 0.3500])
    """
    return share + min(share, 1 - share) * (2 * _ranks(x) - 1)


def by_other(x: Tensor, share: float, drivers: Tensor) -> Tensor:
    r"""Probabilities that values are hidden that increase with another column: missing at random.

    .. math:: P(s_{nd} = 0) = \rho + \min(\rho, 1 - \rho)\,(2 u_{n j_d} - 1)

    This is missing at random if the columns j are never hidden themselves.

    Args:
        x: columns (N, D), NaN for missing values.
        share: :math:`\rho`.
        drivers: for each column the other one, j, (D,) int64; -1 for a column that is not hidden.
    """
    chance = by_itself(x, share)[:, drivers.clamp_min(0)]
    return torch.where(drivers >= 0, chance, 0.0)


def _by_others(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """`by_other`, with drawn columns that remain observed: half of them."""
    count = x.shape[1]
    if count < 2:
        raise refuse("missing", "other", "random or self for data with one column")
    order = torch.randperm(count, generator=generator)
    kept, hidden = order[: count // 2], order[count // 2 :]
    drivers = torch.full((count,), -1)
    drivers[hidden] = kept[torch.randint(len(kept), (len(hidden),), generator=generator)]
    return by_other(x, share, drivers)


def _ranks(x: Tensor) -> Tensor:
    """The ranks of the values of each column, from 0 to 1; 1/2 for missing ones."""
    ranks = torch.full(x.shape, 0.5)
    for place, column in enumerate(x.T):
        seen = ~column.isnan()
        _, kinds, counts = torch.unique(column[seen], return_inverse=True, return_counts=True)
        middle = (counts.cumsum(0) - counts / 2) / max(1, int(seen.sum()))
        ranks[seen, place] = middle[kinds].to(ranks.dtype)
    return ranks


def share_of(missing: float | str) -> tuple[float, str]:
    """The share of values to hide and the world, of ``0.2`` or ``"self:0.2"``.

    Raises:
        RequestError: a text of another form.

    Example:
        >>> share_of(0.2), share_of("self:0.3")
        ((0.2, 'random'), (0.3, 'self'))
    """
    if not isinstance(missing, str):
        return missing, "random"
    world, _, share = missing.rpartition(":")
    try:
        return float(share), choice("missing", world or "random", WORLDS)
    except ValueError:
        raise refuse("missing", missing, "a fraction such as 0.2, or other:0.2, or self:0.2") from None


def hidden_truth(data: Dataset, rows: Tensor | slice = slice(None)) -> Tensor | None:
    """The true values of some rows, scaled, (B, *shape); None if none were hidden."""
    store = data.columns.get(HIDDEN)
    return data.arrange(store[rows]) if isinstance(store, Tensor) else None


def with_missing(raw: Raw, kinds: Sequence[str], spec: Mapping[str, Any] | None = None) -> tuple[Raw, bool]:
    """Arrays, such as images, whose NaN are missing values, and whether the method reads them; other data unchanged.

    Args:
        raw: data.
        kinds: the kinds that the method reads: arrays with missing values, if both arrays and tables, and complete
            ones as such too if tables are first.
        spec: of the training data, if these are others: those with missing values may have none here.
    """
    spec = spec or {}
    always = spec.get("kind", "array") == "array" and "observed" in spec.get("conditions", {})
    reads = always or {"array", "table"} <= {*kinds}
    parts = [raw] if raw.test is None else [raw, raw.test]
    if not reads or raw.kind != "array" or getattr(raw.x, "ndim", 0) < 3 or on_disk(raw.x):
        return raw, reads
    always = always or kinds[0] == "table"
    if not always and not any(part.x.dtype.kind == "f" and np.isnan(part.x).any() for part in parts):
        return raw, reads
    test = None if raw.test is None else replace(raw.test, holes=True)
    return replace(raw, holes=True, test=test), reads


def with_holes(source: Source, missing: float | str, arrays: bool = False) -> Source:
    """Data with a fraction of the values hidden in both parts, the same values each time.

    Args:
        source: tables or arrays.
        missing: the fraction, or the world and the fraction, see `share_of`.
        arrays: whether the method reads arrays with missing values.

    Raises:
        RequestError: a share out of range, or data of another kind.
    """
    spec = source.spec
    if spec.kind != "table" and not (arrays and spec.kind == "array" and len(spec.shape) > 1):
        raise refuse(
            "missing",
            missing,
            "left out: this method does not support missing values",
            "Fit a method for tables with missing cells, such as `missing-iwae`, `iwae` or `vae`.",
        )
    share, world = share_of(missing)
    parts = (hide(part, share, seed, world) for seed, part in enumerate((source.train, source.test)))
    if spec.kind == "array":
        spec = replace(spec, conditions={**spec.conditions, "observed": spec.shape})
    train, test = parts
    return replace(source, train=train, test=test, spec=spec)
