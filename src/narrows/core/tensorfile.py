"""Reading and writing of safetensors files: rows of a tensor can be read alone, and files are hashed while
written.

A file consists of 8 bytes with the length of the header, the JSON header, and the numbers. Files are not
trusted: every offset in the header is checked against the size of the file.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from narrows.core.check import WorkError
from narrows.core.files import replacing

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["DTYPES", "Entry", "dtype_named", "hash_of", "read_table", "read_tensors", "write_tensors"]

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "BOOL": torch.bool,
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}


class Entry:
    """The location of a tensor in a file.

    Args:
        path: the file.
        dtype: type of its numbers.
        shape: shape of the tensor.
        offset: byte offset of its first number in the file.
    """

    __slots__ = ("dtype", "offset", "path", "shape")

    def __init__(self, path: Path, dtype: torch.dtype, shape: tuple[int, ...], offset: int) -> None:
        self.path, self.dtype, self.shape, self.offset = path, dtype, shape, offset

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def blame(self, row: int) -> str:
        """An error text: the file of a damaged row, and how to repair it."""
        return (
            f"row {row} of {self.path} is the first one. Remove that file, then run the same harvest command again: "
            "it computes only what is missing."
        )

    def shaped(self, shape: tuple[int, ...]) -> Entry:
        """The same numbers read with another shape; numbers beyond it are ignored."""
        return Entry(self.path, self.dtype, shape, self.offset)

    def read(self, first: int = 0, last: int | None = None) -> Tensor:
        """Rows `first` to `last` (exclusive), as a new tensor of the stored type."""
        rows = (self.shape[0] if last is None else last) - first
        out = torch.empty(rows, *self.shape[1:], dtype=self.dtype)
        self.fill(out, first)
        return out

    def fill(self, out: Tensor, first: int = 0) -> None:
        """Read rows from `first` on directly into a contiguous tensor of the same type."""
        self.fill_runs(out, [(first, len(out))])

    def fill_runs(self, out: Tensor, runs: Iterable[tuple[int, int]]) -> None:
        """Read several runs of rows, (first, count) each, into a contiguous tensor of the same type.

        Raises:
            WorkError: the file was removed or truncated.
        """
        if not out.numel():
            return
        target, at = _bytes(out), 0
        row = len(target) // len(out)
        try:
            with self.path.open("rb", buffering=0) as file:
                for first, count in runs:
                    file.seek(self.offset + first * row)
                    until = at + count * row
                    while at < until:
                        got = file.readinto(target[at:until])
                        if not got:
                            raise WorkError(
                                f"{self.path} became shorter while it was read. Put the whole file back, then resume."
                            )
                        at += got
        except OSError as error:
            raise WorkError(f"{self.path} can no longer be read: {error}") from error


def dtype_named(name: str) -> torch.dtype:
    """A torch dtype by name, such as ``"bfloat16"``.

    Raises:
        ValueError: there is no such type, or safetensors files do not store it.
    """
    found = getattr(torch, name, None) if isinstance(name, str) else None
    if not isinstance(found, torch.dtype) or found not in _CODES:
        raise ValueError(f"{name!r} is not a type that is stored")
    return found


def read_table(path: Path) -> dict[str, Entry]:
    """The locations of the tensors of a .safetensors file by name; only the header is read.

    Raises:
        ValueError: the file is truncated or damaged; the message says how.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        if len(head) < 8:
            raise ValueError(f"{path.name} has only {size} bytes")
        (length,) = struct.unpack("<Q", head)
        if 8 + length > size:
            raise ValueError(f"{path.name} is cut off inside its table")
        try:
            table = json.loads(file.read(length))
        except RecursionError as error:
            raise ValueError(f"the table of {path.name} is nested too deeply") from error
    if not isinstance(table, dict):
        raise ValueError(f"the table of {path.name} is no mapping")
    table.pop("__metadata__", None)
    entries = {name: _entry(path, name, row, 8 + length, size) for name, row in table.items()}
    end = 8 + length
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].offset, item[1].nbytes)):
        if entry.offset != end:
            raise ValueError(f"in {path.name} the tensor {name!r} does not follow the one before it")
        end += entry.nbytes
    if end != size:
        raise ValueError(f"{path.name} has {size - end} bytes that belong to no tensor")
    return entries


def hash_of(tensors: Iterable[Tensor]) -> str:
    """The SHA-256 of the numbers and shapes of some tensors, in any order and whatever their names are.

    Args:
        tensors: the tensors, on any device.

    Example:
        >>> a, b = torch.zeros(2), torch.ones(3)
        >>> hash_of([a, b]) == hash_of([b, a]), hash_of([a, b]) == hash_of([a, b + 1])
        (True, False)
    """
    each = []
    for tensor in tensors:
        digest = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        each.append(digest.digest())
    return hashlib.sha256(b"".join(sorted(each))).hexdigest()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a .safetensors file by name, in memory; damage raises what `read_table` raises."""
    found = {}
    for name, entry in read_table(path).items():
        out = torch.empty(entry.shape, dtype=entry.dtype)
        entry.fill(out.reshape(1, -1))
        found[name] = out
    return found


def _entry(path: Path, name: str, row: Any, start: int, size: int) -> Entry:
    try:
        kind, shape = row["dtype"], tuple(row["shape"])
        first, last = row["data_offsets"]
        whole = all(type(n) is int and 0 <= n < 1 << 62 for n in (*shape, first, last))
        dtype = DTYPES.get(kind)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the table of {path.name} is damaged at {name!r}") from error
    if dtype is None:
        raise ValueError(f"{name!r} in {path.name} is of type {kind}, but {', '.join(DTYPES)} are read")
    count = 1
    for n in shape if whole else ():
        count *= n
    if not whole or last - first != count * dtype.itemsize:
        raise ValueError(f"in {path.name} the size of {name!r} does not fit its shape")
    if start + last > size:
        raise ValueError(f"{path.name} is cut off: the end of {name!r} is missing")
    return Entry(path, dtype, shape, start + first)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], again: str, metadata: Mapping[str, str] | None = None
) -> str:
    """Write a .safetensors file atomically and return its SHA-256.

    Args:
        path: the file.
        tensors: the tensors by name.
        again: the sentence to add to the error when the disk is full.
        metadata: texts to keep in the header.

    Raises:
        WorkError: the file cannot be written; an existing file is unchanged.
    """
    ready = {name: t.detach() for name, t in tensors.items()}
    order = sorted(ready, key=lambda name: (-ready[name].dtype.itemsize, name))  # keeps every tensor aligned
    table: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    at = 0
    for name in order:
        t = ready[name]
        table[name] = {
            "dtype": _CODES[t.dtype],
            "shape": list(t.shape),
            "data_offsets": [at, at + t.nbytes],
        }
        at += t.nbytes
    head = json.dumps(table, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    digest = hashlib.sha256()
    with replacing(path, again) as file:
        parts: Iterator[Buffer] = (_bytes(ready[name].to("cpu").contiguous()) for name in order)
        for part in chain([struct.pack("<Q", len(head)), head], parts):  # one copy in memory at a time
            file.write(part)
            digest.update(part)
    return digest.hexdigest()


def _bytes(t: Tensor) -> memoryview[int]:
    """The memory of a contiguous tensor."""
    return t.view(-1).view(torch.uint8).numpy().data if t.numel() else memoryview(b"")
