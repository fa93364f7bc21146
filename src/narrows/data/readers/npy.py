"""Arrays in untrusted .npy and .npz files: a header is checked against the size of its file first.

Pickles are never read, as unpickling can execute arbitrary code.
"""

from __future__ import annotations

import ast
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from narrows.core.check import RequestError
from narrows.data.memory import make_room

__all__ = ["names", "read_npy", "read_npz", "room_for"]

_MAGIC = b"\x93NUMPY"
_LENGTHS = {(1, 0): "<H", (2, 0): "<I", (3, 0): "<I"}
_LONGEST = 10_000
_KINDS = re.compile(r"[<>|=]?(?:[biufcmMOSUV])\d{0,9}(?:\[\w+\])?")
_CHUNK = 1 << 20
_LAST_CHARACTER = 0x10FFFF
_ZIP_ERRORS = (
    ValueError,
    OSError,
    EOFError,
    RuntimeError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
)
_DAMAGED = (*_ZIP_ERRORS, zipfile.BadZipFile, zlib.error, struct.error)


class _Header(NamedTuple):
    """The content of an array's header, and the byte offset of its data."""

    shape: tuple[int, ...]
    dtype: np.dtype
    order: str
    offset: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class _Pickled(ValueError):
    """The file contains Python objects."""


def room_for(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """The memory in bytes to load an array: as stored, a part of it, and both as float32."""
    count = math.prod(shape)
    kept = 0 if dtype.itemsize == 1 or dtype == np.float32 else 8 * count
    return 2 * count * dtype.itemsize + kept


def read_npy(path: Path, mapped: bool = False) -> np.ndarray:
    """Read the array of a .npy file.

    Args:
        path: the file.
        mapped: leave the array on disk.

    Raises:
        RequestError: no such file, Python objects, a damaged file, or an array that does not fit into memory.
    """
    if not path.is_file():
        raise RequestError(f"There is no file {path}.")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = _header(file)
            if header.offset + header.nbytes != size:
                raise ValueError(_sizes(header, size - header.offset))
            if mapped and header.nbytes and header.shape and header.dtype.kind != "U":
                return np.memmap(
                    path, header.dtype, "r", header.offset, header.shape, "F" if header.order == "F" else "C"
                )
            room = room_for(header.shape, header.dtype)
            make_room(room, str(path), "Leave it on disk: ``mapped=True``.")
            return _numbers(file, header)
    except _DAMAGED as error:
        raise _unreadable(path, ".npy", error) from error


def read_npz(
    path: Path, needed: Collection[str | None] | None = None
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Read arrays of a .npz file.

    Args:
        path: the file.
        needed: the names to read; all when None.

    Returns:
        The names of all arrays, and the needed arrays.

    Raises:
        RequestError: Python objects, a damaged file, or arrays that do not fit into memory.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) == _MAGIC:
                raise ValueError("it is a single array; rename it to .npy")
            file.seek(0)
            with zipfile.ZipFile(file) as archive:
                members = _members(archive)
                selected = [name for name in members if needed is None or name in needed]
                room = 0
                for name in selected:
                    with archive.open(members[name]) as stream:
                        header = _header(stream)
                    if header.offset + header.nbytes != members[name].file_size:
                        raise ValueError(f"{name}: {_sizes(header, members[name].file_size - header.offset)}")
                    room += room_for(header.shape, header.dtype)
                make_room(
                    room, str(path), "Save its arrays as .npy files and leave them on disk: ``mapped=True``."
                )
                for name in selected:
                    with archive.open(members[name]) as stream:
                        arrays[name] = _numbers(stream, _header(stream))
    except _DAMAGED as error:
        raise _unreadable(path, ".npz", error) from error
    return list(members), arrays


def names(path: Path) -> list[str]:
    """The names of the arrays of a .npz file; none if it is damaged, which reading it says."""
    try:
        with zipfile.ZipFile(path) as archive:
            return list(_members(archive))
    except _DAMAGED:
        return []


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The arrays of an archive by name; other files are ignored."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if not info.filename.endswith(".npy"):
            continue
        name = info.filename.removesuffix(".npy")
        if name in found:
            raise ValueError(f"two arrays have the name {name!r}")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name!r} has a compression that np.savez does not use")
        found[name] = info
    return found


def _header(file: IO[bytes]) -> _Header:
    """The header of an array, validated: three known keys, integers, a numeric or text type."""
    magic = file.read(8)
    if len(magic) < 8 or magic[:6] != _MAGIC:
        raise ValueError("it does not start with the .npy magic bytes")
    code = _LENGTHS.get((magic[6], magic[7]))
    if code is None:
        raise ValueError(f"version {magic[6]}.{magic[7]} of the format is unknown")
    width = struct.calcsize(code)
    (length,) = struct.unpack(code, file.read(width))
    if length > _LONGEST:
        raise ValueError(f"its header has {length} bytes")
    text = file.read(length)
    try:
        fields = ast.literal_eval(text.decode("utf-8" if magic[6] == 3 else "latin1").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError("its header does not describe an array") from error
    keys = {"descr", "fortran_order", "shape"}
    if len(text) < length or not isinstance(fields, dict) or set(fields) != keys:
        raise ValueError("its header does not describe an array")
    shape, order = fields["shape"], fields["fortran_order"]
    if not isinstance(shape, tuple) or len(shape) > 32 or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError("its shape is damaged")
    if math.prod(max(1, n) for n in shape) >= 1 << 60 or type(order) is not bool:
        raise ValueError("its shape is damaged")
    return _Header(shape, _type(fields["descr"]), "F" if order else "C", 8 + width + length)


def _type(descr: object) -> np.dtype:
    """A numeric or text type, from its description in a header."""
    if isinstance(descr, list):
        raise ValueError("it has a structured type; save each field as a separate array")
    if not isinstance(descr, str) or _KINDS.fullmatch(descr) is None:
        raise ValueError("its type is damaged")
    kind = descr.lstrip("<>|=")[0]
    if kind == "O":
        raise _Pickled
    if kind in "mMV":
        raise ValueError(f"it is of type {descr}; save numbers or text")
    try:
        dtype = np.dtype(descr)
    except TypeError as error:
        raise ValueError(f"its type {descr!r} is unknown") from error
    if not dtype.itemsize:
        raise ValueError(f"its type {descr!r} has no width")
    return dtype


def _numbers(file: IO[bytes], header: _Header) -> np.ndarray:
    """The data after a header, in native byte order; the file must be complete."""
    flat = np.empty(math.prod(header.shape), header.dtype)
    target, at = memoryview(flat.view(np.uint8).data) if flat.size else memoryview(b""), 0
    while at < len(target):
        got = file.read(min(_CHUNK, len(target) - at))
        if not got:
            raise ValueError("its end is missing")
        target[at : at + len(got)] = got
        at += len(got)
    if file.read(1):  # reading to the end also verifies the checksum of an archive
        raise ValueError("it has more data than its header declares")
    if not flat.dtype.isnative:
        flat = flat.astype(flat.dtype.newbyteorder("="))
    if flat.dtype.kind == "U":
        _check_text(flat)
    return flat.reshape(header.shape, order="F" if header.order == "F" else "C")


def _check_text(flat: np.ndarray) -> None:
    """Raise an error for invalid code points, which Python cannot convert to text."""
    characters = flat.view(np.uint32)
    if ((characters > _LAST_CHARACTER) | ((characters >= 0xD800) & (characters < 0xE000))).any():
        raise ValueError("its text has invalid characters")


def _sizes(header: _Header, there: int) -> str:
    return f"an array {header.shape} of {header.dtype} needs {header.nbytes} bytes, but there are {there}"


def _unreadable(path: Path, kind: str, error: Exception) -> RequestError:
    if isinstance(error, RequestError):
        return error
    if isinstance(error, _Pickled):
        return RequestError(
            f"{path} contains Python objects, stored as a pickle, which is not read because it can execute arbitrary "
            "code. Save arrays of numbers: np.save('x.npy', np.stack(rows))."
        )
    return RequestError(f"{path} cannot be read as {kind}: truncated or damaged ({error}).")
