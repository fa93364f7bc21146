"""How far the work is: a bar on a terminal, a line now and then elsewhere, always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar

from narrows.core.check import printable

__all__ = ["Progress", "Silent", "followed"]

T = TypeVar("T")


class Silent:
    """Says nothing: the interface of all progress."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def begin(self, title: str, total: int, done: int = 0, what: str = "steps") -> None:
        """A piece of work of `total` steps begins, `done` of them made before; `what` they are."""

    def advance(self, done: int, facts: Mapping[str, float] | None = None) -> None:
        """`done` steps are made; facts such as the loss are shown beside."""

    def note(self, text: str) -> None:
        """What is going on now, beside the bar."""

    def say(self, text: str) -> None:
        """A sentence for the user."""


class Progress(Silent):
    """A Rich progress bar with rate and time left; without a terminal a line every ten seconds.

    Args:
        every: how many seconds lie between two such lines.
        brief: whether the work is mostly over in no time: then no line says that it begins.
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
            TextColumn("{task.fields[facts]}"),
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
        self.task = self.bar.add_task(title, total=total, completed=done, rate="", facts="")
        if not self.live and not self.brief:
            self._line(f"{title}: {total - done:,} {what}")

    def advance(self, done: int, facts: Mapping[str, float] | None = None) -> None:
        """Move the bar, or say a line if none was said for a while."""
        now = time.monotonic()
        rate = (done - self.first) / max(now - self.started, 1e-9)
        shown = "  ".join(f"{k} {v:.4g}" for k, v in (facts or {}).items())
        if self.live:
            self.bar.update(self.task, completed=done, rate=f"{rate:,.0f}/s", facts=shown)
        elif now - self.spoke >= self.every or (
            not self.brief and done >= self.total and now - self.started >= 2
        ):
            self.spoke = now
            left = (self.total - done) / max(rate, 1e-9)
            self._line(f"{self.title}: {done:,}/{self.total:,}  {rate:,.0f}/s  {left:,.0f} s left  {shown}")

    def note(self, text: str) -> None:
        """Show what is going on; without a terminal nothing."""
        if self.live and self.task is not None:
            self.bar.update(self.task, facts=printable(text))

    def say(self, text: str) -> None:
        """Print a sentence above the bar."""
        self._line(text)

    def _line(self, text: str) -> None:
        text = printable(text)
        if self.live:
            self.console.print(text, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)


def followed(
    parts: Iterable[T], total: int, progress: Silent | None, title: str, chunk: int = 512
) -> Iterator[T]:
    """The parts of a piece of work as they are done, and how far it is.

    Args:
        parts: one for each chunk of rows; a part is done when the next one is asked for.
        total: how many rows there are.
        progress: who is told, or None.
        title: what is being done.
        chunk: rows in each part but the last.

    Example:
        >>> list(followed("abc", 1200, None, "Encoding"))
        ['a', 'b', 'c']
    """
    if progress is not None:
        progress.begin(title, total, what="rows")
    for number, part in enumerate(parts, 1):
        if progress is not None:
            progress.advance(min(number * chunk, total))
        yield part
