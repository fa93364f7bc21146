"""Synthetic data: gene counts of cells of several types, in batches, with known means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from narrows.core.check import number, refuse, whole
from narrows.data.raw import Raw

__all__ = ["CellsTruth", "cells"]

_PROGRAMMES = 8
"""Directions in which the log-shares of genes differ between types."""
_WITHIN, _DEPTH = 0.15, 0.4
"""Standard deviations of cells of a type along a programme, and of log-totals."""


@dataclass(frozen=True, eq=False)
class CellsTruth:
    """The parameters of the counts.

    Args:
        base: log-shares of genes without type and batch, (D,).
        programmes: (8, D).
        types: place of each type, (types, 8).
        batches: change of the log-shares in each batch, (batches, D).
        dispersion: inverse of the variance that a Poisson variable lacks.
        dropout: probability that a count is lost.
    """

    base: np.ndarray
    programmes: np.ndarray
    types: np.ndarray
    batches: np.ndarray
    dispersion: float
    dropout: float


def cells(
    n: int = 2000,
    genes: int = 200,
    types: int = 6,
    batches: int = 1,
    depth: float = 1000.0,
    dispersion: float = 5.0,
    dropout: float = 0.0,
    seed: int = 0,
    world: int = 0,
    tests: int = 500,
) -> Raw:
    r"""Draw counts of cells, negative binomial variables of which some are lost.

    .. math:: \log \rho = \mathrm{base} + P\, t + b,\quad m = L\, \mathrm{softmax}(\log \rho),\quad
              x_d \sim (1 - \pi)\, \mathrm{NB}(m_d, \theta) + \pi\, \delta_0

    P are programmes of genes, t the place of a cell near that of its type, b the change in its batch, and L its
    size, log-normal. The means m are the column ``means``; the label is the type.

    Args:
        n: training cells.
        genes: counts of a cell, D.
        types: number of types.
        batches: number of batches; with more than one there is the condition ``batch``.
        depth: median of L.
        dispersion: theta.
        dropout: pi, the probability that a count is lost.
        seed: seed of the cells.
        world: seed of the parameters.
        tests: test cells.

    Example:
        >>> import narrows.data
        >>> source = narrows.data.open("cells", n=8, tests=2, batches=3)
        >>> source.spec.values, source.spec.classes, dict(source.spec.conditions)
        ('counts', 6, {'batch': (3,)})
    """
    if not 0 <= number("dropout", dropout) < 1:
        raise refuse("dropout", dropout, "a probability, at least 0 and below 1")
    for name, value in (("depth", depth), ("dispersion", dispersion)):
        if not number(name, value) > 0:
            raise refuse(name, value, "above 0")
    fixed = np.random.default_rng((world, 31))
    truth = CellsTruth(
        fixed.normal(0, 1, whole("genes", genes)),
        fixed.normal(0, 0.5, (_PROGRAMMES, genes)) * (fixed.random((_PROGRAMMES, genes)) < 0.3),
        fixed.normal(0, 1, (whole("types", types), _PROGRAMMES)),
        fixed.normal(0, 0.7, (whole("batches", batches), genes)) * (batches > 1),
        dispersion,
        dropout,
    )
    rng, total = np.random.default_rng((seed, 32)), whole("n", n) + whole("tests", tests)
    kind, batch = rng.integers(0, types, total), rng.integers(0, batches, total)
    place = truth.types[kind] + rng.normal(0, _WITHIN, (total, _PROGRAMMES))
    logs = truth.base + place @ truth.programmes + truth.batches[batch]
    shares = np.exp(logs - logs.max(1, keepdims=True))
    size = depth * np.exp(rng.normal(0, _DEPTH, (total, 1)))
    means = size * shares / shares.sum(1, keepdims=True)
    x = rng.poisson(rng.gamma(dispersion, means / dispersion)) * (rng.random(means.shape) >= dropout)
    x[x.sum(1) == 0, 0] = 1  # a cell without counts would have no total
    stores = {"means": means.astype(np.float32)}
    if batches > 1:
        stores["batch"] = np.eye(batches, dtype=np.float32)[batch]
    whole_set = Raw(
        x.astype(np.float32),
        kind,
        class_names=tuple(f"type {i}" for i in range(types)),
        stores=stores,
        layout="vector",
        scale="counts",
        truth=truth,
    )
    train = whole_set.rows(slice(0, n))
    train.test = whole_set.rows(slice(n, None))
    return train
