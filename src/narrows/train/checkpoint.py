"""Checkpoints for exact resumption, in safetensors and JSON, written atomically.

A checkpoint is two files, ``step-000000500.safetensors`` and ``step-000000500.json``. The second is written
last and holds one checksum over the digest of the tensors and all metadata. The newest two checkpoints are
kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from narrows.core import Autoencoder, files
from narrows.core.check import WorkError, number, whole
from narrows.core.tensorfile import read_tensors, write_tensors

__all__ = ["Checkpoint", "compatible_with", "newest", "write_checkpoint"]

_KEEP = 2
_DAMAGE = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError)
"""The exceptions that reading a damaged checkpoint may raise."""


class Checkpoint:
    """A checkpoint that was read and verified: its tensors and its metadata."""

    def __init__(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        self.tensors, self.metadata = tensors, metadata

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names start with a prefix, without the prefix."""
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}


def write_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write a checkpoint, then delete all but the newest two.

    Raises:
        WorkError: no disk space left, or the folder cannot be written; earlier checkpoints are kept.
    """
    files.check_no_link(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkError(f"{folder} cannot be created: {error.strerror or error}.") from error
    stem = folder / f"step-{step:09d}"
    again = f"Free some, then go on with: narrows resume {folder.parent}"
    sha256 = write_tensors(stem.with_suffix(".safetensors"), tensors, again)
    form = files.with_checksum({**metadata, "tensors": sha256})
    files.write(stem.with_suffix(".json"), json.dumps(form).encode(), again)
    for old in sorted(folder.glob("step-*.json"))[:-_KEEP]:
        old.unlink(missing_ok=True)
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def newest(
    folder: Path, check: Callable[[Checkpoint], None] | None = None
) -> tuple[Checkpoint | None, list[str]]:
    """The newest undamaged checkpoint, and a message for each damaged one that was skipped.

    Args:
        folder: the ``state`` of a run.
        check: raises ValueError for a checkpoint that cannot be used, such as the result of
            `compatible_with`.
    """
    messages: list[str] = []
    for path in sorted(folder.glob("step-*.json"), reverse=True):
        try:
            found = _read(path)
            if check is not None:
                check(found)
            return found, messages
        except _DAMAGE as error:
            reason = str(error).split("\n")[0].rstrip(".")
            messages.append(f"The checkpoint {path.stem} is damaged ({reason}); the one before it is used.")
    return None, messages


def compatible_with(model: Autoencoder) -> Callable[[Checkpoint], None]:
    """A check that a checkpoint belongs to this model.

    Args:
        model: the model, as constructed.

    Returns:
        A function that raises ValueError if names, shapes or stages differ.
    """
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    players = [{p.name for p in stage.part.players() if p.parameters} for stage in model.stages()]

    def check(checkpoint: Checkpoint) -> None:
        for prefix in ("model/", "best/", "average/"):
            found = {name: tuple(value.shape) for name, value in checkpoint.under(prefix).items()}
            other = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))
            if other and (found or prefix == "model/"):
                raise ValueError(f"its weights are another model's, such as {other[0]}")
        stage = checkpoint.metadata["stage"]
        if stage >= len(players) or set(checkpoint.metadata["groups"]) != players[stage]:
            raise ValueError("its optimizers are another model's")
        random = checkpoint.tensors["rng/cpu/0"]
        if random.dtype != torch.uint8 or random.shape != torch.get_rng_state().shape:
            raise ValueError("its random state is of another version of PyTorch")

    return check


def _read(path: Path) -> Checkpoint:
    metadata = files.without_checksum(files.read_json(path))
    data = path.with_suffix(".safetensors")
    if files.sha256(data) != metadata.pop("tensors"):
        raise ValueError("its checksum does not match")
    for name in ("at", "stage", "step"):
        whole(name, metadata[name], low=0)
    number("seconds", metadata["seconds"], low=0)
    if not isinstance(metadata["groups"], dict):
        raise ValueError("`groups` is not a mapping")
    return Checkpoint(read_tensors(data), metadata)
