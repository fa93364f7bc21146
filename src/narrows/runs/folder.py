"""The folder of a new run: created, locked, and never over existing files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from narrows.core import files
from narrows.core.check import NarrowsError, RequestError
from narrows.core.lock import Lock, is_empty

__all__ = ["create_folder", "new_folder"]


def create_folder(out: str | Path | None, name: str, held: ExitStack, fill: Callable[[Path], None]) -> Path:
    """Create, lock and fill a folder; it is removed again if that fails.

    Args:
        out: the folder, which must not exist or must be empty; a new one below ``runs`` if None.
        name: name of the folder below ``runs``.
        held: context that holds the lock.
        fill: writes the first files of the folder.

    Raises:
        RequestError: the folder is not empty, or cannot be created.
    """
    folder, made = new_folder(out, name)
    try:
        held.enter_context(Lock(folder))
        if not is_empty(folder):
            raise _taken(folder)
        files.remove_temporary_files(folder)
        fill(folder)
    except NarrowsError:
        held.close()
        if made:
            with suppress(OSError):  # not empty if another process has written to it
                folder.rmdir()
        raise
    return folder


def new_folder(out: str | Path | None, name: str) -> tuple[Path, bool]:
    """The folder of a new run, and whether this process created it.

    Args:
        out: the folder; a new one below ``runs`` if None.
        name: name of the folder below ``runs``.

    Raises:
        RequestError: the folder is not empty, or cannot be created.
    """
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
        raise RequestError(
            f"The run folder {folder} cannot be created: {error.strerror or error}."
        ) from error
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
        f"Name another folder, remove this one, or continue it: narrows resume {folder}"
    )
