"""Files and folders: the reader of a path, and the readers of arrays (.npy, .npz, .safetensors).

Pickles are never read, as unpickling can execute arbitrary code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from narrows.activations.harvest import is_harvest
from narrows.core import tensorfile
from narrows.core.check import RequestError, UnknownNameError, nearest, refuse
from narrows.data.memory import make_room
from narrows.data.raw import Raw
from narrows.data.readers import npy
from narrows.data.readers.arrays import from_mapping
from narrows.data.readers.counts import is_matrix, is_tenx, read_h5ad, read_matrix, read_tenx
from narrows.data.readers.fields import as_raw, read_fields
from narrows.data.readers.graph import read_graphs
from narrows.data.readers.harvest import read_harvest
from narrows.data.readers.image_folder import SUFFIXES, read_folder
from narrows.data.readers.series import read_series_arrays, read_series_table
from narrows.data.readers.tables import read_table, test_part
from narrows.data.readers.text import read_text_file

__all__ = ["MAPPED_BYTES", "read_arrays", "read_keyed", "read_npy", "reader_of"]

MAPPED_BYTES = 512 << 20
"""Files of at least this size are memory-mapped, unless the option `mapped` is given."""

_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt", ".dill")


def reader_of(path: Path, kinds: Sequence[str] = ()) -> Callable[..., Any]:
    """The reader of a file or folder.

    Args:
        path: the file or folder.
        kinds: the supported kinds of data, for files that can be read as several.

    Raises:
        RequestError: the path does not exist, or its format is not supported.
    """
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UnknownNameError(
            f"There is no file or folder {path}. {nearest(path.name, beside) if beside else ''}".strip()
        )
    if path.is_dir():
        return read_harvest if is_harvest(path) else read_tenx if is_tenx(path) else read_folder
    if not path.is_file():
        raise RequestError(f"{path} is neither a file nor a folder.")
    suffixes = [s.lower() for s in path.suffixes]
    suffix = "".join(suffixes[-2:]) if suffixes[-1:] == [".gz"] else "".join(suffixes[-1:])
    if suffix in _PICKLES:
        raise RequestError(
            f"{path} is a pickle, which is not read because it can execute arbitrary code. If you trust it, convert "
            "it: np.save('x.npy', torch.load('x.pt', weights_only=True).numpy()), or use safetensors."
        )
    if suffix in SUFFIXES:
        raise RequestError(f"{path} is one image; give the folder of images.")
    if suffix not in READERS and suffix not in _TEXTS:
        known = ", ".join([*READERS, *_TEXTS])
        raise refuse("data", str(path), f"a folder of images or a file with the suffix {known}")
    if path.stat().st_size == 0:
        raise RequestError(f"{path} is empty (0 bytes).")
    if suffix in _TEXTS:
        return read_text_file
    for kind in kinds:
        if kind == "array":
            break
        if suffix in _OF_A_KIND.get(kind, {}):
            return _OF_A_KIND[kind][suffix]
    if suffix == ".npz" and is_matrix(npy.names(path)):
        return read_matrix
    return READERS[suffix]


def read_npy(
    path: Path,
    labels: str | None = None,
    target: str | None = None,
    layout: str = "auto",
    mapped: bool | None = None,
) -> Raw:
    """Read a .npy file.

    Args:
        path: the file, one array (N, ...).
        labels: another .npy file with the class of each example.
        target: another .npy file with the targets.
        layout: the memory layout of an example, see `narrows.data.shapes`.
        mapped: leave the array on disk; when None, only if the file is large.
    """
    x = npy.read_npy(path, _stays(path, mapped))
    kinds = (
        None if labels is None else npy.read_npy(Path(labels)),
        None if target is None else npy.read_npy(Path(target), _stays(Path(target), mapped)),
    )
    return Raw(x, *kinds, layout=layout)


def _stays(path: Path, mapped: bool | None) -> bool:
    """Whether the arrays of a file are memory-mapped."""
    return path.is_file() and path.stat().st_size >= MAPPED_BYTES if mapped is None else mapped


def read_keyed(
    path: Path,
    key: str | None = None,
    labels: str | None = None,
    target: str | None = None,
    split: str | None = None,
    layout: str = "auto",
    mapped: bool | None = None,
    kind: Literal["array", "field"] = "array",
) -> Raw:
    """Read a file of named arrays, .npz or .safetensors.

    Args:
        path: the file.
        key: the array of examples. When None: x_train and x_test, or x, or the only array.
        labels: the array of classes. When None: y_train and y_test, or y; ``"none"`` for none.
        target: the array of targets.
        split: the array that marks the examples of the test set.
        layout: the memory layout of an example, see `narrows.data.shapes`.
        mapped: leave the arrays of a .safetensors file on disk; when None, only if the file is large.
        kind: ``field`` reads ``u`` with ``grid`` or ``points``, see `narrows.data.readers.fields`.
    """
    if kind == "field" and (fields := _keyed_fields(path, labels, split)) is not None:
        return fields
    needed = None if key is None else {key, labels, target, split}
    if path.suffix.lower() == ".npz":
        if mapped:
            raise refuse(
                "mapped", True, "left out for a .npz file, which is an archive", "Use .npy or .safetensors."
            )
        names, arrays = _npz(path, needed)
    else:
        names, arrays = _safetensors(path, needed, _stays(path, mapped))
    lower = {name.lower() for name in arrays}
    rest = [name for name in arrays if name not in (labels, target, split)]
    if key is None and lower & {"x", "x_train"}:
        raw = from_mapping(arrays, layout)
    elif key is not None or len(rest) == 1:
        raw = Raw(_chosen(path, "key", rest[0] if key is None else key, arrays, names), layout=layout)
    elif not rest:
        raise RequestError(f"{path.name} has no array of examples.")
    else:
        shapes = ", ".join(f"`{n}` {tuple(arrays[n].shape)}" for n in rest[:12])
        raise RequestError(
            f"{path.name} has several arrays: {shapes}. Select the examples, such as ``key={rest[0]!r}``."
        )
    if labels is not None:
        raw.labels = None if labels == "none" else _chosen(path, "labels", labels, arrays, names)
    if target is not None:
        raw.target = _chosen(path, "target", target, arrays, names)
    if split is not None:
        raw.part = test_part(_chosen(path, "split", split, arrays, names), split)
    return raw


def _keyed_fields(path: Path, labels: str | None, split: str | None) -> Raw | None:
    """The values and positions of a file; None if it has no such arrays (it may contain images)."""
    reads = _npz if path.suffix.lower() == ".npz" else partial(_safetensors, mapped=False)
    names, arrays = reads(path, None)
    if not {"u", "grid", "points"} & set(arrays):
        return None
    raw = as_raw(read_fields(arrays, path.name))
    if labels is not None:
        raw.labels = _chosen(path, "labels", labels, arrays, names)
    if split is not None:
        raw.part = test_part(_chosen(path, "split", split, arrays, names), split)
    return raw


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a .npz or .safetensors file by name, without scalars."""
    if path.suffix.lower() == ".npz":
        return _npz(path, None)[1]
    return {name: array for name, array in _safetensors(path, None, False)[1].items() if array.ndim}


def _chosen(
    path: Path, argument: str, name: str, arrays: Mapping[str, np.ndarray], names: list[str]
) -> np.ndarray:
    if name not in arrays:
        raise refuse(argument, name, f"one of the arrays of {path.name}", nearest(name, names))
    return arrays[name]


def _npz(path: Path, needed: set[str | None] | None) -> tuple[list[str], dict[str, np.ndarray]]:
    """The names of all arrays, and the needed arrays (all except scalars, when None)."""
    names, arrays = npy.read_npz(path, needed)
    return names, {name: array for name, array in arrays.items() if array.ndim}


def _safetensors(
    path: Path, needed: set[str | None] | None, mapped: bool
) -> tuple[list[str], dict[str, np.ndarray]]:
    """The same for a .safetensors file, with scalars."""
    try:
        table = tensorfile.read_table(path)
        wanted = {name: entry for name, entry in table.items() if needed is None or name in needed}
        if not mapped:
            room = sum(npy.room_for(e.shape, np.dtype(f"V{e.dtype.itemsize}")) for e in wanted.values())
            make_room(room, str(path), "Leave it on disk: ``mapped=True``.")
        return list(table), {name: _tensor(entry, mapped) for name, entry in wanted.items()}
    except (ValueError, OSError, OverflowError) as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError(
            f"{path} cannot be read as .safetensors: truncated or damaged ({error})."
        ) from error


def _tensor(entry: tensorfile.Entry, mapped: bool) -> np.ndarray:
    if entry.dtype == torch.bfloat16:
        halves = np.fromfile(entry.path, "<u2", math.prod(entry.shape), offset=entry.offset)
        return (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry.shape)
    dtype = np.dtype(str(entry.dtype).removeprefix("torch.")).newbyteorder("<")
    if mapped and entry.shape and 0 not in entry.shape:
        return np.memmap(entry.path, dtype, "r", entry.offset, entry.shape)
    return np.fromfile(entry.path, dtype, math.prod(entry.shape), offset=entry.offset).reshape(entry.shape)


READERS: dict[str, Callable[..., Raw]] = {
    ".npy": read_npy,
    ".npz": read_keyed,
    ".csv": read_table,
    ".tsv": read_table,
    ".csv.gz": read_table,
    ".tsv.gz": read_table,
    ".parquet": read_table,
    ".safetensors": read_keyed,
    ".h5ad": read_h5ad,
}

_OF_A_KIND: dict[str, dict[str, Callable[..., Any]]] = {
    "graph": dict.fromkeys((".npz", ".csv", ".tsv", ".csv.gz", ".tsv.gz"), read_graphs),
    "series": {
        ".npz": read_series_arrays,
        ".npy": read_series_arrays,
        **dict.fromkeys((".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet"), read_series_table),
    },
}
"""Readers of file formats for other kinds of data than arrays."""

_TEXTS = (".txt", ".txt.gz", ".jsonl", ".jsonl.gz")
