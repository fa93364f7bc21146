"""How a proof shows where it is: a bar on a terminal, a line a seed elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

__all__ = ["Progress"]


class Progress:
    """Seeds done, what is going on, time gone and time left, on stderr.

    Args:
        name: what is proved.
        total: how many seeds.
        show: True shows it always, None only where stderr is a terminal, False never.
    """

    def __init__(self, name: str, total: int, show: bool | None = None) -> None:
        self._console = Console(file=sys.stderr)
        self._name, self._total, self._count = name, total, 0
        self._lines = show is True and not self._console.is_terminal
        visible = self._console.is_terminal and show is not False
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total} seeds"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[doing]}"),
            console=self._console,
            disable=not visible,
            transient=True,
        )
        self._task = self._bars.add_task(name, total=total, doing="")

    def say(self, text: str) -> None:
        """What is going on now."""
        self._bars.update(self._task, doing=text)

    def done(self, seed: int) -> None:
        """A seed is finished."""
        self._count += 1
        self._bars.update(self._task, advance=1, doing="")
        if self._lines:
            print(f"{self._name}: {self._count} of {self._total} seeds (seed {seed} done)", file=sys.stderr)

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
