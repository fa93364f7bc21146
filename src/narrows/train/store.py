"""The part of a run folder that training writes: checkpoints and metrics, in step with each other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from narrows import files
from narrows.train.checkpoint import Checkpoint, newest, write_checkpoint

__all__ = ["Store", "read_metrics"]


class Store:
    """Checkpoints under ``state/`` and one JSON object a line in ``metrics.jsonl``.

    Args:
        path: the run folder.
        loggers: Fabric loggers (TensorBoard, Weights & Biases, MLflow) that get each record too.
    """

    def __init__(self, path: Path, loggers: tuple[Any, ...] = ()) -> None:
        self.path, self.loggers = path, loggers

    def save(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Write a checkpoint."""
        write_checkpoint(self.path / "state", step, tensors, facts)

    def restore(self, trim: bool = True) -> tuple[Checkpoint | None, list[str]]:
        """The newest sound checkpoint, and what was passed over; metrics written after it are cut off.

        Args:
            trim: cut them off; of several processes one does.
        """
        found, said = newest(self.path / "state")
        if not trim:
            return found, []
        kept = [r for r in read_metrics(self.path) if found is not None and r["at"] <= found.facts["at"]]
        lines = "".join(json.dumps(r) + "\n" for r in kept)
        files.write(self.path / "metrics.jsonl", lines.encode())
        return found, said

    def log(self, record: Mapping[str, Any]) -> None:
        """Append a metrics record."""
        files.append(self.path / "metrics.jsonl", (json.dumps(record) + "\n").encode())
        numbers = {k: v for k, v in record.items() if isinstance(v, float)}
        for logger in self.loggers:
            logger.log_metrics(numbers, step=record["at"])


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a run's ``metrics.jsonl``; a last line cut short by an interruption is left out."""
    records: list[dict[str, Any]] = []
    with suppress(FileNotFoundError):
        for line in (path / "metrics.jsonl").read_text().splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
    return records
