"""The stochastic block model: a graph with known communities, and data of the nodes that hint at them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from narrows.core.check import number, refuse, whole
from narrows.data.dataset import Source
from narrows.data.graphs import Graph, held_out

__all__ = ["SBMTruth", "draw", "sbm"]


@dataclass(frozen=True, eq=False)
class SBMTruth:
    """Nodes i and j are joined with probability P[block i, block j], each pair on its own.

    Args:
        blocks: the block of each node, (N,).
        probability: P, (blocks, blocks), symmetric.
    """

    blocks: np.ndarray
    probability: np.ndarray

    def log_likelihood(self, edges: np.ndarray) -> float:
        """Exact log p(edges | blocks) in nats, (E, 2) pairs that are joined, each once.

        Example:
            >>> truth = SBMTruth(np.zeros(3, int), np.full((1, 1), 0.5))
            >>> round(truth.log_likelihood(np.array([[0, 1]])), 4)  # three fair coins
            -2.0794
        """
        size = np.bincount(self.blocks, minlength=len(self.probability))
        pairs = np.outer(size, size) / 2 - np.diag(size) / 2  # ordered blocks: both orders sum to all pairs
        joined = np.zeros_like(self.probability)
        np.add.at(joined, (self.blocks[edges[:, 0]], self.blocks[edges[:, 1]]), 0.5)
        joined = joined + joined.T
        with np.errstate(divide="ignore", invalid="ignore"):
            ones, zeros = joined * np.log(self.probability), (pairs - joined) * np.log1p(-self.probability)
        return float(np.where(joined > 0, ones, 0).sum() + np.where(pairs > joined, zeros, 0).sum())


def sbm(
    nodes: int = 800,
    blocks: int = 4,
    inside: float = 0.025,
    between: float = 0.0025,
    width: int = 16,
    noise: float = 1.0,
    seed: int = 0,
    test: float = 0.1,
    validation: float = 0.05,
) -> Source:
    """Draw a graph whose nodes lie in blocks of equal size, and hold out some of its edges.

    Two nodes of a block are joined with probability `inside`, two of different blocks with `between`. The data of a
    node are its block's centre, drawn from N(0, I), and noise.

    Args:
        nodes: the number of nodes, N.
        blocks: the number of blocks.
        inside: probability of an edge within a block.
        between: probability of an edge between blocks.
        width: numbers of a node, F; 0 for none.
        noise: standard deviation of the noise.
        seed: of the graph, and of what is held out.
        test: share of the edges in the test part.
        validation: share of the edges that is held out to choose by.

    Example:
        >>> import narrows.data
        >>> source = narrows.data.open("sbm", nodes=60, inside=0.3)
        >>> source.spec.kind, source.spec.shape, len(source.truth.blocks)
        ('graph', (60, 16), 60)
    """
    graph, truth = draw(nodes, blocks, inside, between, width, noise, seed)
    return held_out(graph, "sbm", test=test, validation=validation, seed=seed, truth=truth)


def draw(
    nodes: int, blocks: int, inside: float, between: float, width: int = 16, noise: float = 1.0, seed: int = 0
) -> tuple[Graph, SBMTruth]:
    """The graph of `sbm`, whole, and what made it."""
    nodes, blocks = whole("nodes", nodes, low=8), whole("blocks", blocks, high=nodes)
    rng = np.random.default_rng((whole("seed", seed, low=0), 8))
    for name, value in (("inside", inside), ("between", between)):
        number(name, value, low=0, high=1)
    block = rng.permutation(nodes) % blocks
    p = np.full((blocks, blocks), between) + np.eye(blocks) * (inside - between)
    i, j = np.triu_indices(nodes, 1)
    joined = rng.random(len(i)) < p[block[i], block[j]]
    if not joined.any():
        raise refuse("inside", inside, "a probability that gives the graph edges", "Try inside=0.1.")
    centres = rng.standard_normal((blocks, whole("width", width, low=0)))
    x = centres[block] + number("noise", noise, low=0) * rng.standard_normal((nodes, width))
    graph = Graph.of(np.stack([i[joined], j[joined]], 1), x.astype(np.float32), block)
    return graph, SBMTruth(block, p)
