"""A progress bar for downloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["bar"]


@contextmanager
def bar(
    title: str, progress: Callable[[str, int, int], None] | bool
) -> Iterator[Callable[[str, int, int], None] | None]:
    """A function that is told (file, bytes so far, bytes in all): a bar on stderr, the caller's own, or None."""
    if not isinstance(progress, bool):
        yield progress
        return
    if not progress:
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as shown:
        tasks = {}

        def tell(file: str, so_far: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = shown.add_task(f"{title}: {file}", total=total or None)
            shown.update(tasks[file], completed=so_far)

        yield tell
