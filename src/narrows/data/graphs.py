"""Graphs as examples of kind ``graph``: one with held-out edges, or many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from narrows.core import Spec
from narrows.core.check import RequestError, fraction, number, refuse, whole
from narrows.data.dataset import Dataset, Source
from narrows.data.scaling import Scaling
from narrows.data.stores import Ragged

__all__ = ["Graph", "Split", "divide", "held_out", "many", "whole_graphs"]


@dataclass(frozen=True, eq=False)
class Graph:
    """One undirected graph.

    Args:
        edges: unique pairs of different nodes, the lower index first, sorted: (E, 2) int64.
        x: the features of the nodes, (N, F) float32; F is 0 without features.
        labels: the class of each node, (N,), or None.
        names: the names of the nodes, if they are not numbers.
    """

    edges: np.ndarray
    x: np.ndarray
    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        edges: np.ndarray,
        x: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        names: tuple[str, ...] = (),
    ) -> Graph:
        """A graph from pairs in any order; duplicate edges are merged, and self-loops are removed.

        Raises:
            RequestError: no edges, nodes that do not exist, or features of another number of nodes.

        Example:
            >>> Graph.of(np.array([[2, 0], [0, 2], [1, 1]])).edges
            array([[0, 2]])
        """
        edges = np.asarray(edges)
        if edges.ndim != 2 or edges.shape[1] != 2:
            raise refuse("edges", f"an array of shape {edges.shape}", "pairs of nodes, (E, 2)")
        if edges.dtype.kind not in "iu" and not (
            edges.dtype.kind == "f" and (edges == np.round(edges)).all()
        ):
            raise refuse("edges", f"an array of type {edges.dtype}", "node indices, integers from 0")
        edges = edges.astype(np.int64)
        if len(edges) and edges.min() < 0:
            raise refuse("edges", int(edges.min()), "node indices, integers from 0")
        given = [len(each) for each in (x, labels, names or None) if each is not None]
        nodes = given[0] if given else int(edges.max(initial=-1)) + 1
        if any(n != nodes for n in given) or int(edges.max(initial=-1)) >= nodes:
            raise RequestError(
                f"The edges have node indices up to {int(edges.max(initial=-1))}, but there are data of "
                f"{' and '.join(map(str, given))} nodes. Number the nodes from 0, in the order of their data."
            )
        pairs = np.sort(edges[edges[:, 0] != edges[:, 1]], axis=1)
        if not len(pairs):
            raise RequestError("The graph has no edge between different nodes.")
        return cls(np.unique(pairs, axis=0), _data(x, nodes), labels, names)

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class Split:
    """The edges of a graph in three parts, the last two with as many non-edges, each (n, 2).

    Args:
        train: edges for training.
        validation: held-out edges for model selection.
        test: held-out edges for evaluation.
        validation_non_edges: negative pairs for the validation edges.
        test_non_edges: negative pairs for the test edges.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    validation_non_edges: np.ndarray
    test_non_edges: np.ndarray


def divide(graph: Graph, test: float = 0.1, validation: float = 0.05, seed: int = 0) -> Split:
    """Hold out random edges of a graph, and sample as many non-edges.

    Args:
        graph: the graph.
        test: fraction of test edges.
        validation: fraction of validation edges.
        seed: seed of the split.

    Raises:
        RequestError: fractions that leave a part empty, or a graph with too few edges or non-edges.

    Example:
        >>> ring = Graph.of(np.stack([np.arange(40), (np.arange(40) + 1) % 40], 1))
        >>> split = divide(ring)
        >>> len(split.train), len(split.validation), len(split.test), len(split.test_non_edges)
        (34, 2, 4, 4)
    """
    number("test", test, low=0, high=1)
    number("validation", validation, low=0, high=1)
    rng = np.random.default_rng((whole("seed", seed, low=0), 7))
    tests, looks = int(test * len(graph.edges)), int(validation * len(graph.edges))
    left = len(graph.edges) - tests - looks
    if left < 1 or tests < 1:
        count = len(graph.edges)
        raise refuse(
            "test",
            test,
            f"a fraction that gives each part at least one of the graph's {count} edges",
            f"Try {2 / count:.2g}."
            if 2 < count < 10
            else "A graph with at least ten edges is large enough for the default.",
        )
    order = rng.permutation(len(graph.edges))
    held = graph.edges[order[: tests + looks]]
    apart = _non_edges(graph, tests + looks, rng)
    rest = np.sort(order[tests + looks :])
    return Split(graph.edges[rest], held[tests:], held[:tests], apart[tests:], apart[:tests])


def _non_edges(graph: Graph, count: int, rng: np.random.Generator) -> np.ndarray:
    """Distinct random non-edges, (count, 2)."""
    n = len(graph)
    free = n * (n - 1) // 2 - len(graph.edges)
    if free < count:
        raise RequestError(f"This graph has only {free} non-edges, too few for {count} held-out edges.")
    taken = graph.edges[:, 0] * n + graph.edges[:, 1]
    found = np.zeros(0, np.int64)
    while len(found) < count:
        pairs = np.sort(rng.integers(n, size=(2 * count + 64, 2)), axis=1)
        drawn = (pairs[:, 0] * n + pairs[:, 1])[pairs[:, 0] != pairs[:, 1]]
        found = np.concatenate([found, drawn[~np.isin(drawn, taken)]])
        found = found[
            np.sort(np.unique(found, return_index=True)[1])
        ]  # in the order in which they were drawn
    return np.stack(np.divmod(found[:count], n), 1)


def _data(x: np.ndarray | None, nodes: int) -> np.ndarray:
    if x is None:
        return np.zeros((nodes, 0), np.float32)
    if x.ndim != 2 or x.dtype.kind not in "fiub":
        raise refuse(
            "x", f"an array of shape {x.shape} and type {x.dtype}", "a row of features for each node, (N, F)"
        )
    if not np.isfinite(x).all():
        raise refuse("x", "NaN or infinity", "finite numbers for each node", "Drop or fill them first.")
    return np.ascontiguousarray(x, np.float32)


def held_out(
    graph: Graph, name: str, *, test: float = 0.1, validation: float = 0.05, seed: int = 0, truth: Any = None
) -> Source:
    """One graph as a training and a test set of one row each, with held-out edges as in `divide`.

    The input of the encoder is the training edges in both parts. They are also the target of the training set;
    the target of the test set is all edges. It has the columns ``validation_edges``, ``validation_non_edges``,
    ``test_edges`` and ``test_non_edges``, and ``node_labels`` if there are classes.

    Args:
        graph: the graph.
        name: name of the graph.
        test: as in `divide`.
        validation: as in `divide`.
        seed: as in `divide`.
        truth: for a synthetic graph, the generating process.
    """
    split = divide(graph, test, validation, seed)
    x, seen = torch.from_numpy(graph.x).unsqueeze(0), _row(split.train)
    held = {
        f"{part}_{what}": _row(getattr(split, part if what == "edges" else f"{part}_{what}"))
        for part in ("validation", "test")
        for what in ("edges", "non_edges")
    }
    if graph.labels is not None:
        _, numbers = np.unique(graph.labels, return_inverse=True)
        held["node_labels"] = torch.from_numpy(numbers.reshape(1, -1))
    shape = (len(graph), graph.x.shape[1])
    train = Dataset(x, Scaling(), shape, target=seen, columns={"edges": seen}, always=("edges",), truth=truth)
    test_part = replace(train, target=_row(graph.edges), columns={"edges": seen, **held})
    spec = Spec(shape, target=(len(graph), len(graph)), kind="graph", rows=1)
    return Source(name, train, test_part, spec, truth=truth)


def many(graphs: Sequence[Graph], name: str, share: float = 0.1, seed: int = 0) -> Source:
    """Many graphs as rows; a random subset of them is the test set.

    Args:
        graphs: at least two, with the same number of node features.
        name: name of the data.
        share: fraction of the test set.
        seed: seed of the split.

    Raises:
        RequestError: fewer than two graphs, or graphs with different numbers of node features.
    """
    widths = sorted({one.x.shape[1] for one in graphs})
    if len(graphs) < 2 or len(widths) > 1:
        raise refuse(
            "graphs",
            f"{len(graphs)} graphs with {widths} features per node",
            "two or more, with the same number of features",
        )
    order = np.random.default_rng((whole("seed", seed, low=0), 9)).permutation(len(graphs))
    tests = min(max(1, round(len(graphs) * fraction("test", share))), len(graphs) - 1)
    nodes = max(len(one) for one in graphs)
    train, test = (_rows([graphs[i] for i in np.sort(some)]) for some in (order[tests:], order[:tests]))
    spec = Spec((nodes, widths[0]), target=(nodes, nodes), kind="graph", rows=len(train))
    return Source(name, train, test, spec)


def whole_graphs(graphs: Sequence[Graph], like: Mapping[str, Any]) -> Dataset:
    """Other graphs for a fitted model: the input of the encoder is all their edges.

    Args:
        graphs: at least one.
        like: the output of `Source.describe` for the training data.

    Raises:
        RequestError: another number of node features than in the training data, or, without features, more
            nodes.
    """
    nodes, width = like["spec"]["shape"]
    for one in graphs:
        if one.x.shape[1] != width or (not width and len(one) > nodes):
            raise RequestError(
                f"A graph of {len(one)} nodes with {one.x.shape[1]} features each was given; the training data have "
                f"{nodes} nodes with {width}. Give graphs like the training data."
            )
    return _rows(graphs)


def _rows(graphs: Sequence[Graph]) -> Dataset:
    x = Ragged(
        torch.from_numpy(np.concatenate([one.x for one in graphs])), _ends([len(one) for one in graphs])
    )
    pairs = torch.from_numpy(np.concatenate([one.edges for one in graphs]))
    edges = Ragged(pairs, _ends([len(one.edges) for one in graphs]))
    return Dataset(x, Scaling(), x.shape[1:], target=edges, columns={"edges": edges}, always=("edges",))


def _ends(lengths: list[int]) -> Tensor:
    return torch.tensor(lengths).cumsum(0)


def _row(pairs: np.ndarray) -> Tensor:
    return torch.from_numpy(pairs).unsqueeze(0)
