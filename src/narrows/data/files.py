"""Files and folders: which reader a path has, and the readers of arrays (.npy, .npz, .safetensors).

No pickle is ever read: a pickle can run any program while it is opened.
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from narrows.check import RequestError, nearest, refuse
from narrows.data.arrays import from_mapping
from narrows.data.folder import SUFFIXES, read_folder
from narrows.data.raw import Raw
from narrows.data.tables import read_csv, read_parquet, test_part

__all__ = ["MAPPED_BYTES", "read_npy", "read_npz", "read_safetensors", "reader_of"]

MAPPED_BYTES = 512 << 20
"""Files of at least this size stay on disk and are mapped, unless the option `mapped` says otherwise."""

_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt", ".dill")
_SAFETENSORS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
}
_SAFETENSORS |= {"U8": "|u1", "U16": "<u2", "U32": "<u4", "BOOL": "|b1"}


def reader_of(path: Path) -> Callable[..., Raw]:
    """The reader of a file or folder.

    Raises:
        RequestError: there is no such path, or its kind is not read.
    """
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise RequestError(
            f"There is no file or folder {path}. {nearest(path.name, beside) if beside else ''}".strip()
        )
    if path.is_dir():
        return read_folder
    suffixes = [s.lower() for s in path.suffixes]
    suffix = "".join(suffixes[-2:]) if suffixes[-1:] == [".gz"] else "".join(suffixes[-1:])
    if suffix in _PICKLES:
        raise RequestError(
            f"{path} is a pickle, and pickles are never read: opening one can run any program. Convert it where you "
            "trust it: np.save('x.npy', torch.load('x.pt', weights_only=True).numpy()), or use safetensors."
        )
    if suffix in SUFFIXES:
        raise RequestError(f"{path} is one image; give the folder of images.")
    if suffix not in READERS:
        raise refuse("data", str(path), f"a folder of images or a file of the kind {', '.join(READERS)}")
    if path.stat().st_size == 0:
        raise RequestError(f"{path} is empty (0 bytes).")
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
        target: another .npy file with what must be produced.
        layout: how an example lies, see `narrows.data.shapes`.
        mapped: leave the array on disk; when None, if the file is large.
    """
    x = _npy(path, mapped)
    kinds = (
        None if labels is None else _npy(Path(labels), False),
        None if target is None else _npy(Path(target), mapped),
    )
    return Raw(x, *kinds, layout=layout)


def _npy(path: Path, mapped: bool | None) -> np.ndarray:
    large = path.exists() and path.stat().st_size >= MAPPED_BYTES
    try:
        return np.load(
            path, mmap_mode="r" if (large if mapped is None else mapped) else None, allow_pickle=False
        )
    except FileNotFoundError as error:
        raise RequestError(f"There is no file {path}.") from error
    except (ValueError, OSError, EOFError) as error:
        raise _unreadable(path, ".npy", error) from error


def read_npz(
    path: Path,
    key: str | None = None,
    labels: str | None = None,
    target: str | None = None,
    split: str | None = None,
    layout: str = "auto",
) -> Raw:
    """Read a .npz file.

    Args:
        path: the file.
        key: the array of examples. When None: x_train and x_test, or x, or the only array.
        labels: the array of classes. When None: y_train and y_test, or y; ``"none"`` for none.
        target: the array of what must be produced.
        split: the array that says which examples are the test part.
        layout: how an example lies, see `narrows.data.shapes`.
    """
    try:
        with path.open("rb") as file:
            z = np.load(file, allow_pickle=False)
            if isinstance(z, np.ndarray):
                raise ValueError("it is a single array; call it .npy")
            names = z.files
            wanted = [n for n in names if key is None or n in (key, labels, target, split)]
            arrays = {name: z[name] for name in wanted if z[name].ndim or key is not None}
    except (
        ValueError,
        OSError,
        EOFError,
        KeyError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
    ) as error:
        raise _unreadable(path, ".npz", error) from error
    return _keyed(path, names, arrays, key, labels, target, split, layout)


def read_safetensors(
    path: Path,
    key: str | None = None,
    labels: str | None = None,
    target: str | None = None,
    split: str | None = None,
    layout: str = "auto",
    mapped: bool | None = None,
) -> Raw:
    """Read a .safetensors file; arguments as of `read_npz` and `read_npy`."""
    header, start = _header(path)
    large = path.stat().st_size >= MAPPED_BYTES
    stay = large if mapped is None else mapped
    wanted = [n for n in header if key is None or n in (key, labels, target, split)]
    arrays = {name: _tensor(path, name, header[name], start, stay) for name in wanted}
    return _keyed(path, list(header), arrays, key, labels, target, split, layout)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The table of a .safetensors file, and where its numbers begin: 8 bytes of length, then JSON."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if 8 + length > size:
                raise ValueError("its table is cut off")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        if any(8 + length + entry["data_offsets"][1] > size for entry in header.values()):
            raise ValueError("its end is missing")
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise _unreadable(path, ".safetensors", error) from error
    return header, 8 + length


def _tensor(path: Path, name: str, entry: Mapping[str, Any], start: int, mapped: bool) -> np.ndarray:
    kind, shape, (first, last) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    if kind == "BF16":
        halves = np.fromfile(path, "<u2", (last - first) // 2, offset=start + first)
        return (halves.astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if kind not in _SAFETENSORS:
        raise refuse(
            "key", name, f"a tensor of type {', '.join(_SAFETENSORS)} or BF16", f"This one is {kind}."
        )
    dtype = np.dtype(_SAFETENSORS[kind])
    if mapped and shape and 0 not in shape:
        return np.memmap(path, dtype, "r", start + first, shape)
    return np.fromfile(path, dtype, (last - first) // dtype.itemsize, offset=start + first).reshape(shape)


def _keyed(
    path: Path,
    names: list[str],
    arrays: Mapping[str, np.ndarray],
    key: str | None,
    labels: str | None,
    target: str | None,
    split: str | None,
    layout: str,
) -> Raw:
    """Choose among named arrays: by name, by convention, or the only one."""

    def chosen(argument: str, name: str | None) -> np.ndarray | None:
        if name is None or name == "none":
            return None
        if name not in arrays:
            raise refuse(argument, name, f"one of the arrays of {path.name}", nearest(name, names))
        return arrays[name]

    lower = {name.lower() for name in arrays}
    if key is None and lower & {"x", "x_train"}:
        raw = from_mapping(arrays, layout)
    else:
        others = {labels, target, split}
        rest = [name for name in arrays if name not in others]
        if key is None and len(rest) != 1:
            shapes = ", ".join(f"`{n}` {tuple(arrays[n].shape)}" for n in rest[:12])
            if not rest:
                raise RequestError(f"{path.name} holds no array of examples.")
            raise RequestError(
                f"{path.name} holds several arrays: {shapes}. Say which are the examples, such as key={rest[0]!r}."
            )
        x = chosen("key", key if key is not None else rest[0])
        assert x is not None
        raw = Raw(x, layout=layout)
    if labels is not None:
        raw.labels = chosen("labels", labels)
    if target is not None:
        raw.target = chosen("target", target)
    if split is not None:
        part = chosen("split", split)
        raw.part = None if part is None else test_part(part, split)
    return raw


def _unreadable(path: Path, kind: str, error: Exception) -> RequestError:
    text = str(error)
    if "pickle" in text or "Object arrays" in text or "object" in text.lower():
        return RequestError(
            f"{path} holds Python objects, which are stored as a pickle, and pickles are never read: opening one can "
            "run any program. Save arrays of numbers: np.save('x.npy', np.stack(rows))."
        )
    return RequestError(f"{path} cannot be read as {kind}: truncated or damaged ({text}).")


READERS: dict[str, Callable[..., Raw]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".csv.gz": read_csv,
    ".tsv.gz": read_csv,
    ".parquet": read_parquet,
    ".safetensors": read_safetensors,
}
