"""Logging of metrics to TensorBoard or Weights & Biases, with the interface of Fabric's loggers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from narrows.core.check import choice, optional

__all__ = ["LOGGERS", "Logger", "make_logger"]

LOGGERS = ("tensorboard", "wandb")


class Logger(Protocol):
    """The interface of a logger."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log the metrics of a step."""


def make_logger(name: str, folder: Path) -> Logger:
    """A logger by name; its files, if there are any, are written below the run folder.

    Raises:
        RequestError: an unknown name.
        WorkError: its package is not installed; the message names the extra.
    """
    choice("logger", name, LOGGERS)
    package: Any = optional(name, name, f"log to {name}")
    if name == "tensorboard":
        from lightning_fabric.loggers.tensorboard import TensorBoardLogger

        return TensorBoardLogger(root_dir=folder, name="tensorboard", version="")
    return _Wandb(package, folder)


class _Wandb:
    def __init__(self, wandb: Any, folder: Path) -> None:
        self.run = wandb.init(project="narrows", name=folder.name, dir=str(folder))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.run.log(dict(metrics), step=step)
