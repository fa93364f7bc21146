"""Synthetic data: a mixture of Gaussians whose components are the leaves of a tree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from narrows.core.check import number, refuse, whole
from narrows.data.raw import Raw
from narrows.data.synthetic.branching import even_mixture

__all__ = ["TreeTruth", "tree"]

_MOST = 1 << 16
"""The largest number of leaves."""


@dataclass(frozen=True, eq=False)
class TreeTruth:
    """The nodes of each level of the tree, from the clusters of the first level to the leaves.

    Args:
        levels: for each level its nodes, (C^l, D); the children of node i are C i ... C i + C - 1.
        noise: standard deviation of an observation around its leaf.
    """

    levels: tuple[np.ndarray, ...]
    noise: float

    @property
    def leaves(self) -> np.ndarray:
        """The means of the mixture, (C^levels, D)."""
        return self.levels[-1]

    def path(self, leaf: np.ndarray) -> np.ndarray:
        """The branch at each level, from 0 to C - 1, on the way to leaves (N,), (N, levels)."""
        children = len(self.levels[0])
        powers = children ** np.arange(len(self.levels))[::-1]
        path: np.ndarray = np.asarray(leaf)[:, None] // powers % children
        return path

    def log_likelihood(self, x: np.ndarray) -> np.ndarray:
        """Exact log p(x) of observations (N, D), in nats, (N,)."""
        return even_mixture(x, self.leaves, self.noise)


def tree(
    n: int = 6_000,
    d: int = 16,
    levels: int = 3,
    children: int = 5,
    shrink: float = 0.5,
    noise: float = 0.1,
    seed: int = 0,
    tree: int = 0,
    tests: int = 1_000,
) -> Raw:
    r"""Draw from Gaussians around the leaves of a tree, whose steps are smaller at each level.

    .. math:: y_i = y_{\mathrm{parent}(i)} + s^{l(i) - 1} \epsilon_i,\quad \epsilon_i \sim N(0, I),\qquad
              x \sim N(y_i, \sigma^2 I),\; i \text{ a leaf, uniform}

    The root is 0, and each of L levels divides each cluster into C. The factors are the branches at each level: the
    first is the coarsest cluster, and the others are counted within the cluster above them.

    Args:
        n: training examples.
        d: values of an example, D.
        levels: L.
        children: C; there are C^L leaves.
        shrink: s, the ratio of the steps of a level and of the one above it.
        noise: sigma.
        seed: seed of the observations.
        tree: seed of the tree.
        tests: test examples.

    Example:
        >>> import narrows.data
        >>> source = narrows.data.open("tree", n=8, tests=2)
        >>> source.truth.leaves.shape, source.train.factor_names
        ((125, 16), ('level 1', 'level 2', 'level 3'))
    """
    if not number("noise", noise) > 0:
        raise refuse("noise", noise, "above 0", "Otherwise the exact likelihood is infinite.")
    if not number("shrink", shrink) > 0:
        raise refuse("shrink", shrink, "above 0")
    levels, children, d = whole("levels", levels), whole("children", children, low=2), whole("d", d)
    if children**levels > _MOST:
        raise refuse("levels", levels, f"so few that there are at most {_MOST} leaves")
    draw = np.random.default_rng((tree, 23))
    found, parents = list[np.ndarray](), np.zeros((1, d))
    for level in range(levels):
        steps = shrink**level * draw.standard_normal((len(parents) * children, d))
        parents = np.repeat(parents, children, 0) + steps
        found.append(parents)
    truth = TreeTruth(tuple(found), noise)
    rng, total = np.random.default_rng((seed, 24)), whole("n", n) + whole("tests", tests)
    leaf = rng.integers(0, len(parents), total)
    x = (parents[leaf] + noise * rng.standard_normal((total, d))).astype(np.float32)
    factors = truth.path(leaf)
    test = Raw(x[n:], factors=factors[n:], layout="vector")
    names = tuple(f"level {level}" for level in range(1, levels + 1))
    return Raw(
        x[:n], factors=factors[:n], factor_names=names, test=test, layout="vector", scale="none", truth=truth
    )
