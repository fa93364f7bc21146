"""Counts of cells: CSR matrices in .npz files, folders of 10x Genomics, and .h5ad files."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from narrows.core.check import RequestError, nearest, optional, refuse, whole
from narrows.data.raw import Raw
from narrows.data.readers import npy
from narrows.data.sparse_rows import SparseRows

__all__ = ["cells", "is_matrix", "is_tenx", "read_h5ad", "read_matrix", "read_tenx"]

_PARTS = ("data", "indices", "indptr", "shape")
_MATRIX = ("matrix.mtx", "matrix.mtx.gz")
_BANNER = "%%MatrixMarket matrix coordinate"


def cells(
    x: SparseRows,
    name: str,
    known: Mapping[str, np.ndarray],
    *,
    labels: str | None = None,
    batch_key: str | None = None,
    batches: Sequence[str] | None = None,
    min_counts: int = 0,
    split: str | None = None,
) -> Raw:
    """Counts with what is known of each cell.

    Args:
        x: the counts, (N, D).
        name: name of the data, for messages.
        known: arrays of N values, by name.
        labels: the one that is the class.
        batch_key: the one that is the batch, a condition of methods.
        batches: the batches of the training data, in order, for other data.
        min_counts: leave out cells with a smaller total.
        split: the one that marks the test cells.

    Raises:
        RequestError: an unknown name, a batch that the training data lack, or no cell left.
    """
    kept = np.flatnonzero(x.totals >= whole("min_counts", min_counts, low=0))
    if not len(kept):
        raise refuse("min_counts", min_counts, f"at most the largest total, {x.totals.max(initial=0)}")

    def column(argument: str, key: str) -> np.ndarray:
        if key not in known or np.shape(known[key]) != (len(x),):
            columns = [one for one, values in known.items() if np.shape(values) == (len(x),)]
            raise refuse(argument, key, f"a column of the cells of {name}", nearest(key, columns))
        return np.asarray(known[key])[kept]

    raw = Raw(x[kept], layout="vector", scale="counts", split=0.2, origin=kept)
    if labels is not None and labels != "none":
        raw.labels = column("labels", labels)
    if split is not None:
        from narrows.data.readers.tables import test_part

        raw.part = test_part(column("split", split), split)
    if batch_key is not None:
        of = np.array([str(value) for value in column("batch_key", batch_key)])
        levels = list(batches) if batches else sorted(set(of))
        unseen = sorted(set(of) - set(levels))
        if unseen:
            raise refuse(
                "batch_key",
                unseen[0],
                f"one of the {len(levels)} batches of the training data: {', '.join(levels[:8])}",
                "A cell of a new batch cannot be decoded: give it the name of the batch that is most alike.",
            )
        raw.stores = {"batch": (of[:, None] == np.array(levels)).astype(np.float32)}
        raw.batches = tuple(levels)
    return raw


def is_matrix(names: Sequence[str]) -> bool:
    """Whether the arrays of a .npz file are those of a sparse matrix."""
    return set(_PARTS) <= set(names)


def read_matrix(
    path: Path,
    labels: str | None = None,
    batch_key: str | None = None,
    batches: list[str] | None = None,
    min_counts: int = 0,
    split: str | None = None,
) -> Raw:
    """Read a .npz file of ``scipy.sparse.save_npz``, a CSR or CSC matrix, a row for each cell.

    Args:
        path: the file; it may have further arrays with a value for each cell.
        labels: such an array, the class.
        batch_key: such an array, the batch.
        batches: the batches of the training data, in order.
        min_counts: leave out cells with a smaller total.
        split: such an array, that marks the test cells.
    """
    _, arrays = npy.read_npz(path)
    form = arrays.get("format", np.array("csr")).item()
    form = form.decode() if isinstance(form, bytes) else form
    if form not in ("csr", "csc"):
        raise RequestError(f"{path} is a sparse matrix of the format {form}. Convert it: x.tocsr().")
    x = _compressed(form, arrays["data"], arrays["indices"], arrays["indptr"], arrays["shape"])
    return cells(
        x,
        path.name,
        arrays,
        labels=labels,
        batch_key=batch_key,
        batches=batches,
        min_counts=min_counts,
        split=split,
    )


def _compressed(
    form: str, data: np.ndarray, indices: np.ndarray, starts: np.ndarray, shape: Any
) -> SparseRows:
    """Rows of a CSR or CSC matrix of a shape."""
    rows, width = (int(n) for n in shape)
    if form == "csr":
        return SparseRows.of(data, indices, starts, width)
    columns = np.repeat(np.arange(width), np.diff(starts))
    return _coordinates(indices, columns, data, rows, width)


def _coordinates(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray, count: int, width: int
) -> SparseRows:
    order = np.argsort(rows, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=count))])
    return SparseRows.of(values[order], columns[order], starts, width)


def is_tenx(folder: Path) -> bool:
    """Whether a folder has the matrix of a 10x Genomics pipeline."""
    return any((folder / name).is_file() for name in _MATRIX)


def read_tenx(path: Path, min_counts: int = 0) -> Raw:
    """Read a folder of a 10x Genomics pipeline: ``matrix.mtx``, genes by cells, plain or with .gz.

    Args:
        path: the folder.
        min_counts: leave out cells with a smaller total.
    """
    file = next(path / name for name in _MATRIX if (path / name).is_file())
    try:
        with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as lines:
            if not lines.readline().startswith(_BANNER):
                raise ValueError(f"it does not start with {_BANNER}")
            line = lines.readline()
            while line.startswith("%"):
                line = lines.readline()
            genes, count, entries = (int(n) for n in line.split())
            found = np.loadtxt(lines, ndmin=2) if entries else np.zeros((0, 3))
    except (ValueError, OSError, EOFError) as error:
        raise RequestError(
            f"{file} cannot be read as Matrix Market: truncated or damaged ({error})."
        ) from error
    if found.shape != (entries, 3) or (found[:, :2] < 1).any() or (found[:, :2] > (genes, count)).any():
        raise RequestError(f"{file} is truncated or damaged: it has {len(found)} of {entries} entries.")
    places = found[:, :2].astype(np.int64) - 1
    return cells(
        _coordinates(places[:, 1], places[:, 0], found[:, 2], count, genes),
        path.name,
        {},
        min_counts=min_counts,
    )


def read_h5ad(
    path: Path,
    labels: str | None = None,
    layer: str | None = None,
    batch_key: str | None = None,
    batches: list[str] | None = None,
    min_counts: int = 0,
    split: str | None = None,
) -> Raw:
    """Read an .h5ad file, the format of anndata, with counts in ``X`` or a layer.

    Args:
        path: the file.
        labels: the column of ``obs`` with the class of each cell.
        layer: the layer with the counts; ``X`` if None.
        batch_key: the column of ``obs`` with the batch of each cell.
        batches: the batches of the training data, in order.
        min_counts: leave out cells with a smaller total.
        split: the column of ``obs`` that marks the test cells.

    Raises:
        WorkError: anndata is not installed.
    """
    anndata = optional("anndata", "cells", "read .h5ad files")
    try:
        read = anndata.read_h5ad(path)
    except Exception as error:
        raise RequestError(f"{path} cannot be read as .h5ad: truncated or damaged ({error}).") from error
    if layer is not None and layer not in read.layers:
        raise refuse("layer", layer, f"a layer of {path.name}", nearest(layer, list(read.layers)))
    matrix = read.X if layer is None else read.layers[layer]
    if hasattr(matrix, "tocsr"):
        matrix = matrix.tocsr()
        x = SparseRows.of(matrix.data, matrix.indices, matrix.indptr, matrix.shape[1])
    else:
        rows, columns = np.nonzero(matrix)
        x = _coordinates(rows, columns, np.asarray(matrix)[rows, columns], *matrix.shape)
    known = {str(name): read.obs[name].to_numpy() for name in read.obs}
    known = {
        name: np.array([str(v) for v in values]) if values.dtype == object else values
        for name, values in known.items()
    }
    return cells(
        x,
        path.name,
        known,
        labels=labels,
        batch_key=batch_key,
        batches=batches,
        min_counts=min_counts,
        split=split,
    )
