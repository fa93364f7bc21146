"""Synthetic data: noisy observations of the nodes of a tree that branches by diffusion."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from narrows.core.check import number, refuse, whole
from narrows.data.raw import Raw

__all__ = ["BranchingTruth", "branching", "even_mixture"]

_MOST = 16
"""The largest depth: 2^16 nodes."""


@dataclass(frozen=True, eq=False)
class BranchingTruth:
    """The nodes of a binary tree, level by level: node i has the parent (i - 1) // 2.

    Args:
        nodes: (M, D); the first is the root, at 0.
        noise: standard deviation of an observation.
    """

    nodes: np.ndarray
    noise: float

    @property
    def depths(self) -> np.ndarray:
        """The depth of each node, (M,); the root's is 0."""
        depths: np.ndarray = np.log2(np.arange(len(self.nodes)) + 1).astype(int)
        return depths

    def log_likelihood(self, x: np.ndarray) -> np.ndarray:
        """Exact log p(x) of observations (N, D), in nats, (N,): a mixture of one Gaussian a node."""
        return even_mixture(x, self.nodes, self.noise)


def even_mixture(x: np.ndarray, centres: np.ndarray, noise: float) -> np.ndarray:
    """log p(x) of an even mixture of Gaussians N(centre, noise^2 I), in nats: (N, D) and (M, D) -> (N,).

    Example:
        >>> even_mixture(np.zeros((1, 2)), np.zeros((3, 2)), 1.0).round(4)
        array([-1.8379])
    """
    x = np.asarray(x, np.float64)
    squares = (x**2).sum(1)[:, None] - 2 * x @ centres.T + (centres**2).sum(1)
    logs = -0.5 * squares / noise**2 - math.log(len(centres))
    top = logs.max(1)
    constant = 0.5 * x.shape[1] * math.log(2 * math.pi * noise**2)
    found: np.ndarray = top + np.log(np.exp(logs - top[:, None]).sum(1)) - constant
    return found


def branching(
    n: int = 6_000,
    d: int = 50,
    depth: int = 5,
    noise: float = 0.5,
    seed: int = 0,
    tree: int = 0,
    tests: int = 1_000,
) -> Raw:
    r"""Draw noisy observations of the nodes of a binary tree, whose edges are Gaussian steps.

    .. math:: y_1 = 0,\quad y_i \sim N(y_{\mathrm{parent}(i)}, I),\qquad x \sim N(y_i, \sigma^2 I),\; i \text{ uniform}

    Args:
        n: training examples.
        d: values of an example, D.
        depth: of the deepest nodes; there are 2^(depth + 1) - 1 nodes.
        noise: sigma.
        seed: seed of the observations.
        tree: seed of the tree.
        tests: test examples.

    Example:
        >>> import narrows.data
        >>> source = narrows.data.open("branching", n=8, tests=2)
        >>> source.truth.nodes.shape, source.train.factor_names
        ((63, 50), ('depth', 'node'))

    Reference:
        Mathieu et al., Continuous Hierarchical Representations with Poincaré Variational Auto-Encoders, 2019, section
        5.1. arXiv:1901.06033
    """
    if not number("noise", noise) > 0:
        raise refuse("noise", noise, "above 0", "Otherwise the exact likelihood is infinite.")
    count = 2 ** (whole("depth", depth, high=_MOST) + 1) - 1
    nodes = np.random.default_rng((tree, 15)).standard_normal((count, whole("d", d)))
    nodes[0] = 0
    for node in range(1, count):
        nodes[node] += nodes[(node - 1) // 2]
    truth = BranchingTruth(nodes, noise)
    rng, total = np.random.default_rng((seed, 16)), whole("n", n) + whole("tests", tests)
    chosen = rng.integers(0, count, total)
    x = (nodes[chosen] + noise * rng.standard_normal((total, d))).astype(np.float32)
    factors = np.stack([truth.depths[chosen], chosen], 1)
    test = Raw(x[n:], factors=factors[n:], layout="vector")
    names = ("depth", "node")
    return Raw(
        x[:n], factors=factors[:n], factor_names=names, test=test, layout="vector", scale="none", truth=truth
    )
