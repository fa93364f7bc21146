"""Disentanglement scores that hold a factor fixed: FactorVAE and beta-VAE score, and interventional robustness.

The papers draw examples with a fixed factor from a generator. Here they are those of a data set that share its value;
values that fewer than five examples share are left out.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.audit.metrics.disentanglement import halves, paired
from narrows.core.check import optional, whole

__all__ = ["beta_vae_score", "factor_vae_score", "irs"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SHARED = 5
"""The least number of examples that share a value."""


def factor_vae_score(
    codes: ArrayLike, factors: ArrayLike, seed: int = 0, votes: int = 800, size: int = 64
) -> float:
    r"""The accuracy of the FactorVAE metric: which latent varies least tells which factor is fixed.

    A vote takes `size` examples that share the value of a random factor k, and is for the latent

    .. math:: j = \arg\min_j \; \mathrm{Var}(z_j) / \mathrm{Var}_{\mathrm{all}}(z_j)

    Each latent stands for the factor of most of its votes, which is counted on one half of the examples and tested on
    the other. Constant latents are left out.

    Args:
        codes: (N, Z).
        factors: (N, F) whole numbers.
        seed: of halves and votes.
        votes: number of votes in each half.
        size: examples of a vote; fewer if not as many share a value.

    Returns:
        From 0 to 1, 1 / F by chance; 0 if all latents are constant, NaN if no value is shared by five examples.

    Reference:
        Kim, Mnih, Disentangling by Factorising (2018), arXiv 1802.05983.
    """
    z, v = paired(codes, factors)
    variance = z.var(0)
    active = variance > 0
    if not active.any():
        return 0.0
    z = z[:, active] / np.sqrt(variance[active])
    rng, tables = np.random.default_rng(seed), []
    for half in halves(len(z), seed):
        groups = _groups(v[half])
        if not groups:
            return math.nan
        table = np.zeros((z.shape[1], v.shape[1]))
        for _ in range(whole("votes", votes)):
            k, rows = _drawn(groups, size, rng)
            table[z[half][rows].var(0).argmin(), k] += 1
        tables.append(table)
    counted, tested = tables
    return float(tested[np.arange(len(tested)), counted.argmax(1)].sum() / tested.sum())


def beta_vae_score(
    codes: ArrayLike, factors: ArrayLike, seed: int = 0, points: int = 1000, size: int = 64
) -> float:
    r"""The accuracy of the beta-VAE metric: differences of codes tell linearly which factor is the same.

    A point takes pairs of examples that share the value of a random factor k, and is

    .. math:: \frac{1}{L} \sum_{l=1}^{L} |z_l - z_l'| \in R^Z

    A logistic regression predicts k from points of one half of the examples, and is tested on the other.

    Args:
        codes: (N, Z).
        factors: (N, F) whole numbers.
        seed: of halves and pairs.
        points: number of points in each half.
        size: pairs of a point, L; fewer if not as many examples share a value.

    Returns:
        From 0 to 1, 1 / F by chance; NaN if no value is shared by five examples.

    Reference:
        Higgins et al., beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework (2017).
    """
    z, v = paired(codes, factors)
    if v.shape[1] == 1:
        return 1.0
    scale = z.std(0)
    z, rng = z / np.where(scale > 0, scale, 1), np.random.default_rng(seed)
    made = []
    for half in halves(len(z), seed):
        groups = _groups(v[half])
        if not groups:
            return math.nan
        drawn = [_drawn(groups, 2 * size, rng) for _ in range(whole("points", points))]
        differences = [
            np.abs(np.diff(z[half][rows[: len(rows) // 2 * 2]].reshape(2, -1, z.shape[1]), axis=0)).mean(
                (0, 1)
            )
            for _, rows in drawn
        ]
        made.append((np.stack(differences), np.array([k for k, _ in drawn])))
    (x, y), (held, truth) = made
    if len(np.unique(y)) < 2:
        return math.nan
    linear = optional("sklearn.linear_model", "report", "measure the beta-VAE score")
    centre, width = x.mean(0), x.std(0)
    width = np.where(width > 0, width, 1)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of the solver's iterations: the accuracy does not depend on the last
        model = linear.LogisticRegression(C=10.0, max_iter=200).fit((x - centre) / width, y)
    return float((model.predict((held - centre) / width) == truth).mean())


def irs(codes: ArrayLike, factors: ArrayLike, quantile: float = 0.99) -> float:
    r"""The interventional robustness score: how little a latent moves while its factor is fixed.

    .. math:: \frac{1}{\sum_j m_j} \sum_j m_j \max_k \left(1 - \frac{1}{|V_k|} \sum_{v \in V_k}
              \frac{Q_{.99} \{|z_j - E[z_j \mid v_k = v]| : v_k = v\}}{m_j}\right), \quad m_j = \max |z_j - E z_j|

    Args:
        codes: (N, Z).
        factors: (N, F) whole numbers.
        quantile: of the deviations; 1 is the maximum of the paper, 0.99 that of its code.

    Returns:
        From 0 to 1; 0 if all latents are constant, NaN if no value is shared by five examples. Few examples of a value
        are near their mean by chance, so that the score of shuffled factors is above 0.

    Reference:
        Suter, Miladinovic, Schölkopf, Bauer, Robustly Disentangled Causal Mechanisms (2019), arXiv 1811.00007.
    """
    z, v = paired(codes, factors)
    largest = np.abs(z - z.mean(0)).max(0)
    active = largest > 0
    if not active.any():
        return 0.0
    z, largest = z[:, active], largest[active]
    robust = []
    for group in _groups(v).values():
        moved = [np.quantile(np.abs(z[rows] - z[rows].mean(0)), quantile, axis=0) for rows in group]
        robust.append(1 - np.mean(moved, 0) / largest)
    if not robust:
        return math.nan
    return float(np.average(np.max(robust, 0), weights=largest))


def _groups(v: Ints) -> dict[int, list[Ints]]:
    """For each factor the rows of each of its values that enough examples share."""
    found: dict[int, list[Ints]] = {}
    for k, column in enumerate(v.T):
        order = column.argsort(kind="stable")
        split = np.split(order, np.flatnonzero(np.diff(column[order])) + 1)
        if kept := [rows for rows in split if len(rows) >= _SHARED]:
            found[k] = kept
    return found


def _drawn(groups: dict[int, list[Ints]], size: int, rng: Any) -> tuple[int, Ints]:
    """A random factor, and at most `size` random examples that share one of its values."""
    k = list(groups)[rng.integers(len(groups))]
    rows = groups[k][rng.integers(len(groups[k]))]
    return k, rng.permutation(rows)[:size]
