"""Several runs in one folder: to resume them one after the other."""

from __future__ import annotations

from pathlib import Path

from narrows.core.check import RequestError
from narrows.core.progress import Silent
from narrows.runs.combinations import members
from narrows.runs.fit import resume
from narrows.runs.run import Run

__all__ = ["resume_all"]


def resume_all(folder: Path, progress: bool | Silent = True) -> list[Run]:
    """Continue the unfinished runs of a sweep or a group, one after the other; they end in the same bits.

    Args:
        folder: the folder with ``sweep.json``.
        progress: as for `fit`.

    Raises:
        RequestError: the folder has no runs, or a run had not begun.
    """
    runs = members(folder)
    if runs is None:
        raise RequestError(f"{folder} is not a sweep or group: it has no sweep.json.")
    missing = [run.name for run in runs if not (run / "recipe.json").is_file()]
    if missing:
        raise RequestError(
            f"{missing[0]} of {folder} had not begun. Repeat the command that made {folder} to train it too."
        )
    return [resume(run, progress=progress) for run in runs]
