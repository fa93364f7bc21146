"""The files of a run folder that training writes: checkpoints and metrics, consistent with each other."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from narrows.core import files
from narrows.train.checkpoint import Checkpoint, newest, write_checkpoint

__all__ = ["Store", "read_metrics"]

_NAME = "metrics.jsonl"
_LISTS = ("/density", "/rates")
"""Endings of the names of metrics that are lists of numbers."""


class Store:
    """Checkpoints under ``state/``, and ``metrics.jsonl`` with one JSON object per line.

    Args:
        path: the run folder.
        loggers: Fabric loggers (TensorBoard, Weights & Biases) that receive each record too.
    """

    def __init__(self, path: Path, loggers: tuple[Any, ...] = ()) -> None:
        self.path, self.loggers = path, loggers

    def save(self, step: int, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
        """Write a checkpoint."""
        write_checkpoint(self.path / "state", step, tensors, metadata)

    def restore(
        self, check: Callable[[Checkpoint], None] | None = None, trim: bool = True
    ) -> tuple[Checkpoint | None, list[str]]:
        """The newest undamaged checkpoint, and messages about skipped ones; later metrics are removed.

        Args:
            check: see `narrows.train.checkpoint.newest`.
            trim: remove later metrics; only one of several processes should.
        """
        found, messages = newest(self.path / "state", check)
        if not trim:
            return found, []
        records = [
            r for r in read_metrics(self.path) if found is not None and r["at"] <= found.metadata["at"]
        ]
        files.write(self.path / _NAME, "".join(json.dumps(r) + "\n" for r in records).encode())
        return found, messages

    def log(self, record: Mapping[str, Any]) -> None:
        """Append a metrics record; non-finite numbers are stored as null."""
        line = json.dumps({k: None if _not_finite(v) else v for k, v in record.items()}, allow_nan=False)
        files.append(self.path / _NAME, (line + "\n").encode())
        numbers = {k: v for k, v in record.items() if isinstance(v, float)}
        for logger in self.loggers:
            logger.log_metrics(numbers, step=record["at"])


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a run's ``metrics.jsonl``.

    Incomplete or damaged lines and non-finite numbers are skipped.
    """
    records: list[dict[str, Any]] = []
    with suppress(OSError):
        file = path / _NAME
        for line in file.read_bytes().splitlines() if file.is_file() else ():
            with suppress(ValueError):
                records.append(_record(files.parse_json(line.decode())))
    return records


def _record(form: Any) -> dict[str, Any]:
    """A record from JSON; raises ValueError if it is not one."""
    if not isinstance(form, dict) or not isinstance(form.get("stage"), str):
        raise ValueError("not a record")
    positions = [form.get("at"), form.get("step")]
    if not all(type(n) is int and n >= 0 for n in positions):
        raise ValueError("no step")
    return {
        k: v
        for k, v in form.items()
        if k == "stage" or _is_list(k, v) or (_is_number(v) and not k.endswith(_LISTS))
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_list(name: str, value: Any) -> bool:
    """Whether it is a histogram, or a number for each latent."""
    return name.endswith(_LISTS) and isinstance(value, list) and all(_is_number(v) for v in value)


def _not_finite(value: Any) -> bool:
    if isinstance(value, list):
        return any(_not_finite(v) for v in value)
    return isinstance(value, float) and not math.isfinite(value)
