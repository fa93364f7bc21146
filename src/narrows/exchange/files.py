"""Files of dictionaries: configurations and memory-mapped tensors are read and checked, folders written at once."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from narrows.core import files
from narrows.core.check import RequestError, WorkError, refuse
from narrows.core.lock import is_empty
from narrows.core.tensorfile import Entry, read_table, write_tensors

__all__ = [
    "Weights",
    "flag",
    "map_tensors",
    "read_config",
    "read_pickle",
    "vacant",
    "write_files",
    "write_folder",
]

_AGAIN = "Free some, then convert again."


def damaged(path: Path, reason: object) -> RequestError:
    """The error for a damaged or incomplete file."""
    return RequestError(f"{path} is damaged: {str(reason).rstrip('.')}. Get the file again.")


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        RequestError: the file is missing, or is not a JSON object.
    """
    try:
        found = files.read_json(path)
    except FileNotFoundError:
        raise RequestError(f"{path} is missing: without it the tensors cannot be interpreted.") from None
    except ValueError as error:
        raise damaged(path, error) from error
    if not isinstance(found, dict):
        raise damaged(path, "it is not a JSON object")
    return found


def flag(config: Mapping[str, Any], name: str, path: Path, default: bool = False) -> bool:
    """A switch of a configuration.

    Args:
        config: the configuration.
        name: of the field; a missing or empty one has the default.
        path: the file, for messages.
        default: its value where the configuration says nothing.

    Raises:
        RequestError: it is neither true nor false.
    """
    found = config.get(name)
    if found is None:
        return default
    if not isinstance(found, bool):
        raise refuse(f"{name} of {path}", found, "true or false")
    return found


def map_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, memory-mapped: pages are read when numbers are used.

    Raises:
        RequestError: the file is missing, cut short or damaged.
    """
    try:
        table = read_table(path)
        whole = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
    except FileNotFoundError:
        raise RequestError(f"{path} is missing.") from None
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error
    return {name: _mapped(whole, entry) for name, entry in table.items()}


def _mapped(whole: Tensor, entry: Entry) -> Tensor:
    """A tensor of a mapped file; a copy where its bytes are not aligned."""
    if entry.offset % entry.dtype.itemsize or not entry.nbytes:
        return entry.shaped((int(np.prod(entry.shape)),)).read().reshape(entry.shape)
    return whole[entry.offset : entry.offset + entry.nbytes].view(entry.dtype).view(entry.shape)


def read_pickle(path: Path, allow: bool) -> dict[str, Any]:
    """The tensors of a file of `torch.save`, memory-mapped; only tensors and plain values are unpickled.

    Raises:
        RequestError: pickles are not allowed, or the file is damaged or holds other objects.
    """
    if not allow:
        raise RequestError(
            f"{path} is a pickle, which can run code of its author when it is opened. "
            "If you trust its source, open it with ``allow_pickle=True``: then only tensors and plain values are read. "
            "Or write it as a run first: narrows convert IN OUT --to narrows --allow-pickle"
        )
    try:
        try:
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            found = torch.load(path, map_location="cpu", weights_only=True)  # the format before torch 1.6
    except FileNotFoundError:
        raise RequestError(f"{path} is missing.") from None
    except Exception as error:  # pickles raise exceptions of any class
        first = str(error).split("\n")[0]
        cut = not first or isinstance(
            error, OSError
        )  # the end of the archive, which lists its content, is missing
        raise damaged(path, "it is cut off, or no file of torch.save" if cut else first) from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise damaged(path, "it is not a mapping of names to tensors")
    return {name: value.detach() if isinstance(value, Tensor) else value for name, value in found.items()}


class Weights:
    """Tensors of a file, each taken once and checked against the shape that the configuration implies.

    Args:
        path: the file, for messages.
        tensors: its tensors by name.
    """

    def __init__(self, path: Path, tensors: Mapping[str, Any]) -> None:
        self.path, self.left, self.names = path, dict(tensors), sorted(tensors)

    def __contains__(self, name: str) -> bool:
        return name in self.left

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, which stays to be taken.

        Raises:
            RequestError: it is missing.
        """
        if not isinstance(self.left.get(name), Tensor):
            has = ", ".join(f"`{one}`" for one in self.names) or "nothing"
            raise RequestError(f"{self.path} lacks the tensor `{name}`: it has {has}.")
        return tuple(self.left[name].shape)

    def take(self, name: str, *shape: int) -> Tensor:
        """A tensor of real numbers of this shape.

        Raises:
            RequestError: it is missing, or has another shape or type.
        """
        found = self.shape(name)
        if found != shape:
            raise RequestError(
                f"{self.path} contradicts its configuration: `{name}` is {found}, where {shape} is expected."
            )
        tensor: Tensor = self.left.pop(name)
        if not tensor.is_floating_point():
            raise RequestError(f"{self.path}: `{name}` holds {tensor.dtype}, not real numbers.")
        return tensor

    def finish(self, ignored: tuple[str, ...] = ()) -> None:
        """Refuse tensors that were not taken, since their part of the computation is unknown.

        Raises:
            RequestError: there are such tensors.
        """
        left = sorted(set(self.left) - set(ignored))
        if left:
            names = ", ".join(f"`{name}`" for name in left)
            raise RequestError(
                f"{self.path} has tensors that its architecture does not have: {names}. "
                "Its configuration names another architecture than it was trained with, or a newer one."
            )


def vacant(out: Path, argument: str = "out") -> None:
    """Refuse a destination that exists and is not an empty folder.

    Args:
        out: the destination.
        argument: its name, for the message.

    Raises:
        RequestError: it exists.
    """
    if out.exists() and not (out.is_dir() and is_empty(out)):
        raise RequestError(
            f"``{argument}`` {out} exists already, and nothing is overwritten. Name another folder, or remove it."
        )


def write_folder(out: Path, fill: Callable[[Path], None]) -> None:
    """Write a folder at once: under a temporary name beside it, which is renamed when all is on the disk.

    Args:
        out: the folder, which must not exist or must be empty.
        fill: writes the files into the folder under its temporary name.

    Raises:
        RequestError: the folder exists and is not empty.
        WorkError: it cannot be written; nothing is left behind.
    """
    vacant(out)
    temporary = out.parent / f".narrows-{secrets.token_hex(8)}.tmp"
    try:
        temporary.mkdir(parents=True)
        fill(temporary)
        temporary.rename(out)
    except OSError as error:
        raise WorkError(f"{out} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_files(folder: Path, content: Mapping[str, Any]) -> None:
    """Write files by relative path: the content by their suffix, as `Format.write` describes it."""
    for name, value in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, value)


def _write(path: Path, value: Any) -> None:
    if path.suffix == ".safetensors":
        write_tensors(path, value, _AGAIN, {"format": "pt"})
    elif path.suffix == ".json":
        files.write(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode(), _AGAIN)
    elif path.suffix in (".npz", ".pt"):
        with files.replacing(path, _AGAIN) as file:
            if path.suffix == ".npz":
                np.savez(file, **{name: tensor.contiguous().numpy() for name, tensor in value.items()})
            else:  # copies, since a view would be saved with the whole file that it is mapped from
                torch.save(
                    {name: tensor.detach().contiguous().clone() for name, tensor in value.items()}, file
                )
    else:
        files.write(path, str(value).encode(), _AGAIN)
