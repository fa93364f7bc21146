"""Options of several commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from narrows.core.check import refuse, whole
from narrows.core.texts import number_or_schedule

if TYPE_CHECKING:
    from narrows.runs.run import Run as Opened

__all__ = [
    "AllowPickle",
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
    "Reading",
    "ReadingOptions",
    "Run",
    "ShowProgress",
    "Steps",
    "TrainingOptions",
    "seeds",
    "steps",
]

Run: TypeAlias = Annotated[Path, typer.Argument(help="The run folder.", metavar="RUN")]
AllowPickle: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--allow-pickle", help="Open a pickle of another library, for tensors and plain values only."
    ),
]
Reading: TypeAlias = Annotated[
    str,
    typer.Option(
        "--as",
        help="Read a foreign file differently from its configuration: see docs/exchange.",
        metavar="READING",
    ),
]


@dataclass(frozen=True)
class ReadingOptions:
    """How a dictionary of another library is opened."""

    reading: Reading = ""
    allow_pickle: AllowPickle = False

    def load(self, path: Path) -> Opened:
        """The run in a folder, or the dictionary of another library.

        Raises:
            RequestError: neither is there, or an option is given for a run of this package.
        """
        import narrows as nr

        return nr.load(path, reading=self.reading, allow_pickle=self.allow_pickle)


Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]
Json: TypeAlias = Annotated[
    bool,
    typer.Option("--json", help="Print name and content of the output file as a JSON document on stdout."),
]

Data: TypeAlias = Annotated[
    str,
    typer.Argument(help="The data: a name (see `narrows data list`), a file or a folder.", metavar="DATA"),
]
Method: TypeAlias = Annotated[
    str | None, typer.Option(help="The method: see `narrows list`.", metavar="NAME")
]
Epochs: TypeAlias = Annotated[
    float | None,
    typer.Option(help="Passes over the training data; without --epochs and --steps, early stopping."),
]
Steps: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        help="Number of optimizer steps, instead of epochs; or of a stage, once for each: tokenizer=2000, prior=3000.",
        metavar="N|STAGE=N",
    ),
]
Patience: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="Early stopping: evaluations without improvement of the validation loss (10 by default)."
    ),
]
BatchSize: TypeAlias = Annotated[
    int | None,
    typer.Option(help="Examples per step, over all devices; by default 128, less for small data sets."),
]
Lr: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Learning rate, or a schedule such as cosine:1e-3:0:5000; the default depends on the method."
    ),
]
Device: TypeAlias = Annotated[str, typer.Option(help="Device: auto, cpu or cuda.")]
Precision: TypeAlias = Annotated[str, typer.Option(help="Precision: 32 or bf16.")]
ShowProgress: TypeAlias = Annotated[bool, typer.Option(help="Show a progress bar.")]


@dataclass(frozen=True)
class TrainingOptions:
    """The options of training, which `narrows.cli.options.complete` adds to a command."""

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
        return {**vars(self), "lr": lr, "steps": steps(self.steps)}


def steps(texts: Sequence[str] | None) -> int | dict[str, int] | None:
    """A number of steps, or numbers by stage.

    Example:
        >>> steps(["200"]), steps(["tokenizer=200", "prior=300"])
        (200, {'tokenizer': 200, 'prior': 300})

    Raises:
        RequestError: a text of another form, or a stage named twice.
    """
    if not texts:
        return None
    if len(texts) == 1 and "=" not in texts[0]:
        return whole("--steps", _integer(texts[0]))
    counts: dict[str, int] = {}
    for text in texts:
        stage, _, count = text.rpartition("=")
        stage = stage or "tokenizer"
        if stage in counts:
            raise refuse("--steps", " ".join(texts), "STAGE=N once for each stage")
        counts[stage] = whole("--steps", _integer(count))
    return counts


def _integer(text: str) -> Any:
    """The integer that a text spells, else the text."""
    try:
        return int(text)
    except ValueError:
        return text


def seeds(text: str | None) -> int | list[int] | None:
    """A number of seeds, or a list of seeds.

    Example:
        >>> seeds("3"), seeds("0,1,5")
        (3, [0, 1, 5])
    """
    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise refuse("--seeds", text, "a number of seeds such as 3, or a list such as 0,1,5") from None
    return numbers if "," in text else numbers[0]
