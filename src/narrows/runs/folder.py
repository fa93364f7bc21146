"""The folder of a new run: made, locked, and never in the place of something else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from narrows.core import files
from narrows.core.check import NarrowsError, RequestError
from narrows.core.lock import Lock, is_empty

__all__ = ["claimed"]


def claimed(out: str | Path | None, name: str, held: ExitStack, fill: Callable[[Path], None]) -> Path:
    """A new folder, locked and filled; what fails leaves only what was there.

    Args:
        out: the folder, which must not be there, or be empty; below ``runs`` when None.
        name: of a folder below ``runs``.
        held: what keeps the lock.
        fill: writes what the folder begins with.

    Raises:
        RequestError: there is something in it, or it cannot be made.
    """
    folder, made = _new_folder(out, name)
    try:
        held.enter_context(Lock(folder))
        if not is_empty(folder):
            raise _taken(folder)
        files.remove_temporary_files(folder)
        fill(folder)
    except NarrowsError:
        held.close()
        if made:
            with suppress(OSError):  # it stays where another process has put something there
                folder.rmdir()
        raise
    return folder


def _new_folder(out: str | Path | None, name: str) -> tuple[Path, bool]:
    """The folder of a new run, and whether it was made here: nobody else can have made the same one."""
    folder = Path("runs") if out is None else Path(out)
    try:
        if out is None:
            folder.mkdir(exist_ok=True)
            return next(
                p for n in range(1, 10_000) if _made(p := folder / (name if n == 1 else f"{name}-{n}"))
            ), True
        folder.parent.mkdir(parents=True, exist_ok=True)
        if _made(folder):
            return folder, True
        if not folder.is_dir() or not is_empty(folder):
            raise _taken(folder)
    except OSError as error:
        raise RequestError(f"The run folder {folder} cannot be made: {error.strerror or error}.") from error
    return folder, False


def _made(folder: Path) -> bool:
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def _taken(folder: Path) -> RequestError:
    return RequestError(
        f"``out`` {folder} exists already, and nothing is overwritten. "
        f"Name another folder, remove this one, or go on with it: narrows resume {folder}"
    )
