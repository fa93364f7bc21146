"""Graphs from files: edge lists (.csv, .tsv) and named arrays (.npz)."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from narrows.core.check import RequestError, nearest, refuse
from narrows.data.dataset import Dataset, Source
from narrows.data.graphs import Graph, held_out, many, whole_graphs
from narrows.data.memory import make_room
from narrows.data.readers.npy import read_npz

__all__ = ["from_arrays", "from_edge_list", "read_graphs", "several"]

_EDGES = ("edges", "edge_index", "adj", "adjacency", "A")
_DATA = ("x", "features", "feat", "attr", "X")
_LABELS = ("labels", "label", "y")


def read_graphs(
    path: Path,
    kind: Literal["graph"] = "graph",
    columns: list[str] | None = None,
    test: float = 0.1,
    validation: float = 0.05,
    seed: int = 0,
    like: Mapping[str, Any] | None = None,
) -> Source | Dataset:
    """Read a graph, or many, from an .npz file of named arrays; or one from a table with one edge per row.

    Args:
        path: an .npz file: see `from_arrays` for one graph, of which some edges are held out, and `several` for
            many, of which some graphs are held out; or a .csv or .tsv file, see `from_edge_list`.
        kind: the kind of data.
        columns: for a table, the two columns with the ends of an edge; the first two when None.
        test: fraction of test edges, or graphs.
        validation: fraction of validation edges.
        seed: seed of the split.
        like: the description of training data; then nothing is held out.

    Raises:
        RequestError: columns for a file without columns, or no graph in the file.
    """
    if path.suffix.lower() != ".npz":
        graph = from_edge_list(path, columns or ())
    elif columns:
        raise refuse("columns", columns, f"left out: {path.name} has named arrays, not columns")
    else:
        _, arrays = read_npz(path)
        if "edge_ends" in arrays or "node_ends" in arrays:
            graphs = several(arrays, path.name)
            return many(graphs, path.stem, test, seed) if like is None else whole_graphs(graphs, like)
        graph = from_arrays(arrays, path.name)
    if like is not None:
        return whole_graphs([graph], like)
    return held_out(graph, path.stem, test=test, validation=validation, seed=seed)


def from_edge_list(path: Path, columns: Sequence[str] = ()) -> Graph:
    """Read the edges of one graph from a table with one edge per row, and its ends in two columns.

    Args:
        path: a .csv or .tsv file with a header, optionally compressed with gzip.
        columns: the two columns; the first two when empty.

    Raises:
        RequestError: fewer than two columns, or a row with fewer than two ends.
    """
    opened = gzip.open if path.name.endswith(".gz") else open
    separator = "\t" if ".tsv" in path.name else ","
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, delimiter=separator))
    except (OSError, UnicodeDecodeError, EOFError, csv.Error) as error:
        raise RequestError(f"{path} cannot be read as a table of text: {error}.") from error
    if not rows or len(rows[0]) < 2:
        raise RequestError(f"{path} must have a column for each end of an edge, such as `source,target`.")
    header, body = [name.strip() for name in rows[0]], rows[1:]
    nodes = {value.strip() for row in body for value in row[:2]}
    if not columns and (all(_whole(value) for value in header[:2]) or nodes & {*header[:2]}):
        header, body = ["source", "target"], rows  # no header: the first row is an edge
    chosen = list(columns) or header[:2]
    for name in chosen:
        if name not in header:
            raise refuse("columns", name, f"a column of {path.name}", nearest(name, header))
    if len(chosen) != 2:
        raise refuse("columns", chosen, "the two columns with the ends of an edge")
    one, other = (header.index(name) for name in chosen)
    ends: list[tuple[str, str]] = []
    for line, row in enumerate(body, len(rows) - len(body) + 1):
        if not row:
            continue
        if max(one, other) >= len(row) or not row[one].strip() or not row[other].strip():
            raise RequestError(
                f"Line {line} of {path.name} does not have two ends of an edge: {','.join(row)[:60]}"
            )
        ends.append((row[one].strip(), row[other].strip()))
    return _named(ends)


def _named(ends: Sequence[tuple[str, str]]) -> Graph:
    """A graph whose nodes are indices from 0, or names, which are numbered in sorted order."""
    flat = [name for pair in ends for name in pair]
    if all(_whole(name) for name in flat):
        return Graph.of(np.asarray(flat, dtype=np.int64).reshape(-1, 2))
    names = sorted(set(flat))
    number = {name: i for i, name in enumerate(names)}
    edges = np.asarray([number[name] for name in flat], dtype=np.int64).reshape(-1, 2)
    return Graph.of(edges, names=tuple(names))


def from_arrays(arrays: Mapping[str, np.ndarray], called: str) -> Graph:
    """Create a graph from named arrays.

    Args:
        arrays: ``edges`` (E, 2), or ``edge_index`` (2, E), or ``adj`` (N, N), or the parts ``adj_indices``,
            ``adj_indptr`` and ``adj_shape`` of a CSR matrix; node features as ``x`` (N, F) or as the parts of a
            CSR matrix, including ``x_data`` (or ``features``, ``feat``, ``attr``); classes as ``labels`` (N,).
        called: name of the file, for messages.

    Raises:
        RequestError: no edges, or arrays with inconsistent shapes.
    """
    edges = next((_edges(arrays, name) for name in _EDGES if _has(arrays, name)), None)
    if edges is None:
        raise RequestError(
            f"{called} has no edges. It has {_listed(arrays)}; name them `edges`, (E, 2) node indices."
        )
    data = next((_matrix(arrays, name) for name in _DATA if _has(arrays, name)), None)
    labels = next((arrays[name] for name in _LABELS if name in arrays), None)
    return Graph.of(edges, data, labels)


def several(arrays: Mapping[str, np.ndarray], called: str) -> list[Graph]:
    """Create many graphs from named arrays.

    Args:
        arrays: ``edges`` (all edges, 2), with node indices from 0 in each graph, ``edge_ends`` (G,) and
            ``node_ends`` (G,): the ends of each graph in the edges and nodes; optionally ``x`` (all nodes, F).
        called: name of the file, for messages.

    Raises:
        RequestError: ends that do not match the arrays, or an invalid graph.
    """
    ends = [_ends(arrays, name, called) for name in ("edge_ends", "node_ends")]
    edges, x = _edges(arrays, "edges"), _matrix(arrays, "x") if _has(arrays, "x") else None
    rows_of = {"edge_ends": len(edges), "node_ends": int(ends[1][-1]) if x is None else len(x)}
    for found, (name, rows) in zip(ends, rows_of.items(), strict=True):
        if found[-1] != rows:
            raise refuse(name, int(found[-1]), f"numbers that end at {rows}")
    if len(ends[0]) != len(ends[1]):
        raise refuse("node_ends", f"{len(ends[1])} graphs", f"as many as ``edge_ends`` has, {len(ends[0])}")
    sizes = np.diff(ends[1], prepend=0)
    pairs = np.split(edges, ends[0][:-1])
    data = [np.zeros((n, 0), np.float32) for n in sizes] if x is None else np.split(x, ends[1][:-1])
    return [Graph.of(one, rows) for one, rows in zip(pairs, data, strict=True)]


def _ends(arrays: Mapping[str, np.ndarray], name: str, called: str) -> np.ndarray:
    found = arrays.get(name)
    if found is None:
        raise RequestError(f"{called} has many graphs, and needs `{name}`, (G,): where each of them ends.")
    if (
        found.ndim != 1
        or not len(found)
        or found.dtype.kind not in "iu"
        or (np.diff(found, prepend=0) < 0).any()
    ):
        raise refuse(name, f"an array of shape {found.shape}", "ascending integers, (G,)")
    return found.astype(np.int64)


def _edges(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Pairs of nodes, (E, 2), from an edge list, a square matrix or its CSR parts."""
    if name not in arrays:
        found = _csr(arrays, name)
        return np.stack([found.rows, found.columns], 1)[found.values != 0]
    edges = arrays[name]
    if name == "edges":
        return edges
    if name == "edge_index":
        return edges.T
    if edges.ndim != 2 or edges.shape[0] != edges.shape[1]:
        raise refuse(name, f"an array of shape {edges.shape}", "a square matrix", "Or give `edges`, (E, 2).")
    return np.argwhere(edges != 0)


def _has(arrays: Mapping[str, np.ndarray], name: str) -> bool:
    return name in arrays or {f"{name}_indices", f"{name}_indptr"} <= arrays.keys()


class _Entries(NamedTuple):
    """The entries of a sparse matrix."""

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    shape: tuple[int, int]


def _matrix(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """A dense matrix, from dense or CSR arrays."""
    if name in arrays:
        return arrays[name]
    found = _csr(arrays, name)
    make_room(4 * found.shape[0] * found.shape[1], f"`{name}`", "Leave out columns that few nodes use.")
    dense = np.zeros(found.shape, np.float32)
    dense[found.rows, found.columns] = found.values
    return dense


def _csr(arrays: Mapping[str, np.ndarray], name: str) -> _Entries:
    """A sparse matrix from its CSR parts; without ``_data`` all entries are 1."""
    columns, ends = (arrays[f"{name}_{part}"].astype(np.int64) for part in ("indices", "indptr"))
    values = arrays.get(f"{name}_data", np.ones(len(columns), np.float32))
    told = arrays.get(f"{name}_shape", np.asarray([len(ends) - 1, columns.max(initial=-1) + 1]))
    rows, width = (int(n) for n in told) if told.shape == (2,) else (-1, -1)
    sound = rows == len(ends) - 1 and ends[:1] == 0 and ends[-1:] == len(columns) == len(values)
    if not sound or (np.diff(ends) < 0).any() or (columns < 0).any() or (columns >= width).any():
        raise RequestError(
            f"The parts `{name}_indices`, `{name}_indptr` and `{name}_data` are not a CSR matrix."
        )
    return _Entries(np.repeat(np.arange(rows), np.diff(ends)), columns, values, (rows, width))


def _listed(arrays: Mapping[str, np.ndarray]) -> str:
    return (
        ", ".join(f"`{name}` {tuple(array.shape)}" for name, array in list(arrays.items())[:8]) or "nothing"
    )


def _whole(text: str) -> bool:
    return text.strip().isdigit()
