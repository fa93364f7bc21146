"""Checkpoints: everything needed to go on exactly, in safetensors and JSON, written to a side and renamed.

A checkpoint is two files, ``step-000000500.safetensors`` and ``step-000000500.json``; the second holds the
SHA-256 of the first and is renamed last, so that a checkpoint is there whole or not at all. The newest two are
kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from narrows import files
from narrows.data.tensorfile import write_tensors

__all__ = ["Checkpoint", "newest", "write_checkpoint"]

_KEEP = 2


class Checkpoint:
    """A checkpoint that was read and checked: its tensors, its facts."""

    def __init__(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        self.tensors, self.facts = tensors, facts

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose name begins with a prefix, the prefix taken off."""
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}


def write_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> None:
    """Write a checkpoint, then forget all but the newest two.

    Raises:
        WorkError: no space left or the folder cannot be written; earlier checkpoints stay as they were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"step-{step:09d}"
    data = stem.with_suffix(".safetensors")
    again = f"Free some, then go on with: narrows resume {folder.parent}"
    sha256 = write_tensors(data, tensors, again)
    files.write(stem.with_suffix(".json"), json.dumps({**facts, "sha256": sha256}).encode(), again)
    for old in sorted(folder.glob("step-*.json"))[:-_KEEP]:
        old.unlink(missing_ok=True)
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest sound checkpoint, and a sentence for each damaged one that was passed over."""
    said: list[str] = []
    for path in sorted(folder.glob("step-*.json"), reverse=True):
        try:
            return _read(path), said
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            reason = str(error).split("\n")[0]
            said.append(f"The checkpoint {path.stem} is damaged ({reason}); the one before it is used.")
    return None, said


def _read(path: Path) -> Checkpoint:
    facts = json.loads(path.read_text())
    data = path.with_suffix(".safetensors")
    if files.sha256(data) != facts["sha256"]:
        raise ValueError("its checksum does not match")
    return Checkpoint(load_file(data), facts)
