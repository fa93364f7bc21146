"""Progress on stderr: a bar on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar

from narrows.core.check import printable

__all__ = ["Part", "Progress", "Silent", "with_progress"]

T = TypeVar("T")


class Silent:
    """Shows nothing; the interface of all progress displays."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def begin(self, title: str, total: int, done: int = 0, what: str = "steps") -> None:
        """Begin a task of `total` steps, of which `done` are already made; `what` is their unit."""

    def advance(self, done: int, metrics: Mapping[str, float] | None = None) -> None:
        """Set the number of steps made; metrics such as the loss are shown with it."""

    def note(self, text: str) -> None:
        """Show the current activity next to the bar."""

    def say(self, text: str) -> None:
        """Print a sentence for the user."""


class Progress(Silent):
    """A Rich progress bar with rate and remaining time; without a terminal, a line every ten seconds.

    Args:
        every: seconds between two such lines.
        brief: omit the line at the start, for work that usually takes less than a second.
    """

    def __init__(self, every: float = 10.0, brief: bool = False) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.live = self.console.is_terminal
        self.brief, self.every, self.spoke = brief, every, time.monotonic()
        self.title, self.total, self.first, self.started = "", 0, 0, self.spoke
        self.bar = Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}"),
            console=self.console,
            refresh_per_second=4,  # each redraw takes a millisecond or two from the training
            disable=not self.live,
        )
        self.task: Any = None

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def begin(self, title: str, total: int, done: int = 0, what: str = "steps") -> None:
        """Show a new bar."""
        title = printable(title)
        self.title, self.total, self.first = title, total, done
        self.started = self.spoke = time.monotonic()
        self.task = self.bar.add_task(title, total=total, completed=done, rate="", metrics="")
        if not self.live and not self.brief:
            self._line(f"{title}: {total - done:,} {what}")

    def advance(self, done: int, metrics: Mapping[str, float] | None = None) -> None:
        """Move the bar, or print a line if the last one is old enough."""
        now = time.monotonic()
        rate, left = _pace(done - self.first, self.total - done, now - self.started)
        shown = "  ".join(f"{k} {v:.4g}" for k, v in (metrics or {}).items())
        if self.live:
            self.bar.update(self.task, completed=done, rate=f"{rate:,.0f}/s", metrics=shown)
        elif now - self.spoke >= self.every or (
            not self.brief and done >= self.total and now - self.started >= 2
        ):
            self.spoke = now
            self._line(f"{self.title}: {done:,}/{self.total:,}  {rate:,.0f}/s  {left:,.0f} s left  {shown}")

    def note(self, text: str) -> None:
        """Show the current activity; without a terminal nothing."""
        if self.live and self.task is not None:
            self.bar.update(self.task, metrics=printable(text))

    def say(self, text: str) -> None:
        """Print a sentence above the bar."""
        self._line(text)

    def _line(self, text: str) -> None:
        text = printable(text)
        if self.live:
            self.console.print(text, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)


class Part(Silent):
    """The progress of a part of a task, as a note next to the bar of the whole; sentences are printed above it.

    Args:
        whole: the bar of the task.
    """

    def __init__(self, whole: Silent) -> None:
        self.whole = whole
        self.title, self.total, self.first, self.started = "", 0, 0, 0.0

    def begin(self, title: str, total: int, done: int = 0, what: str = "steps") -> None:
        """Note what is done."""
        self.title, self.total, self.first, self.started = title, total, done, time.monotonic()
        self.whole.note(f"{title}: {total - done:,} {what}")

    def advance(self, done: int, metrics: Mapping[str, float] | None = None) -> None:
        """Note the number of steps made, and the time left."""
        _, left = _pace(done - self.first, self.total - done, time.monotonic() - self.started)
        self.whole.note(f"{self.title}: {done:,}/{self.total:,}, {left:,.0f} s left")

    def note(self, text: str) -> None:
        """Show the current activity next to the bar."""
        self.whole.note(text)

    def say(self, text: str) -> None:
        """Print a sentence above the bar."""
        self.whole.say(text)


def _pace(made: int, missing: int, seconds: float) -> tuple[float, float]:
    """Steps per second, and the seconds that the missing ones take."""
    rate = made / max(seconds, 1e-9)
    return rate, missing / max(rate, 1e-9)


def with_progress(
    parts: Iterable[T], total: int, progress: Silent | None, title: str, chunk: int = 512
) -> Iterator[T]:
    """Iterate over chunks of work and report progress.

    Args:
        parts: one item per chunk of rows; a chunk counts as done when the next one is requested.
        total: the number of rows.
        progress: the display, or None.
        title: name of the task.
        chunk: rows per chunk, except the last.

    Example:
        >>> list(with_progress("abc", 1200, None, "Encoding"))
        ['a', 'b', 'c']
    """
    if progress is not None:
        progress.begin(title, total, what="rows")
    for number, part in enumerate(parts, 1):
        if progress is not None:
            progress.advance(min(number * chunk, total))
        yield part
