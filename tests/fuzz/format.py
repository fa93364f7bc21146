"""`Format`: what the harness must know of a kind of file."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch


@dataclasses.dataclass(frozen=True)
class Format:
    """A kind of file or folder.

    Args:
        name: short; a case is called ``name:number``.
        make: makes a sound sample in an empty folder, the same every time. Formats that share it share the sample.
        read: reads the sample in a folder and returns what a user would get of it: arrays, tensors, numbers, text,
            data classes, and lists and mappings of them. It runs in a process of its own.
        files: the patterns, below that folder, of the files that are changed.
        sealed: whether a checksum guards those files: what is read of a changed file must then be what is read of
            the sound one. Otherwise other values are allowed (a bit of a number in a .npy file is a number, too).
        share: how many cases it gets, compared with the others.
        warm: modules to import before the cases begin, beside those that reading the sound sample imports.
        seconds: the CPU time that one reading may take.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    files: tuple[str, ...] = ("*",)
    sealed: bool = False
    share: float = 1.0
    warm: tuple[str, ...] = ()
    seconds: int = 30


def digest(value: Any) -> str:
    """A checksum of nested values: equal if and only if types, shapes and numbers are."""
    whole = hashlib.sha256()
    _feed(whole.update, value)
    return whole.hexdigest()


def _feed(put: Callable[[bytes], None], value: Any) -> None:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        put(f"tensor {value.dtype} {tuple(value.shape)}".encode())
        put(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    elif isinstance(value, np.ndarray):
        put(f"array {value.dtype} {value.shape}".encode())
        put(repr(value.tolist()).encode() if value.dtype == object else np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        put(b"{")
        for key in sorted(value, key=repr):
            put(repr(key).encode())
            _feed(put, value[key])
        put(b"}")
    elif isinstance(value, (list, tuple)):
        put(b"[")
        for item in value:
            _feed(put, item)
        put(b"]")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _feed(put, {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.compare})
    elif value is None or isinstance(value, (str, bytes, bool, int, float, complex, np.generic, Path)):
        put(f"{type(value).__name__} {value!r};".encode())
    else:
        raise TypeError(f"a reader of the harness returned {type(value)}; give arrays, numbers or text")
