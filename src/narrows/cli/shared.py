"""Options that several commands have: what every verb on a run is told, and what every command that trains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from narrows.core.texts import number_or_schedule

__all__ = [
    "BatchSize",
    "Data",
    "Device",
    "Epochs",
    "Force",
    "Json",
    "Lr",
    "Method",
    "Patience",
    "Precision",
    "Run",
    "ShowProgress",
    "Steps",
    "TrainingOptions",
]

Run: TypeAlias = Annotated[Path, typer.Argument(help="The run folder.", metavar="RUN")]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Say in one JSON document on stdout what was written.")
]

Data: TypeAlias = Annotated[
    str, typer.Argument(help="A name (see `narrows data list`) or a file or folder.", metavar="DATA")
]
Method: TypeAlias = Annotated[
    str | None, typer.Option(help="What to fit: see `narrows list`.", metavar="NAME")
]
Epochs: TypeAlias = Annotated[
    float | None,
    typer.Option(help="Passes over the training data; without it and --steps, until held-out rows say stop."),
]
Steps: TypeAlias = Annotated[int | None, typer.Option(help="Optimizer steps, instead of epochs.")]
Patience: TypeAlias = Annotated[
    int | None,
    typer.Option(help="Stop after so many looks at held-out rows without improvement (10 by default)."),
]
BatchSize: TypeAlias = Annotated[
    int | None, typer.Option(help="Examples a step, over all devices; 128, or fewer for few examples.")
]
Lr: TypeAlias = Annotated[
    str | None, typer.Option(help="Learning rate (1e-3 by default), or a schedule: cosine:1e-3:0:5000.")
]
Device: TypeAlias = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Precision: TypeAlias = Annotated[str, typer.Option(help="32 or bf16.")]
ShowProgress: TypeAlias = Annotated[bool, typer.Option(help="Show how far the training is.")]


@dataclass(frozen=True)
class TrainingOptions:
    """The options of a training, which `narrows.cli.options.complete` gives to a command."""

    epochs: Epochs = None
    steps: Steps = None
    patience: Patience = None
    batch_size: BatchSize = None
    lr: Lr = None
    device: Device = "auto"
    precision: Precision = "32"
    progress: ShowProgress = True

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of `fit` and `sweep` in Python."""
        lr = None if self.lr is None else number_or_schedule("--lr", self.lr)
        return {**vars(self), "lr": lr}
