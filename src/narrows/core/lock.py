"""Locks on folders: one process at a time trains or harvests in a folder."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from narrows.core import files
from narrows.core.check import RequestError, WorkError

__all__ = ["Lock", "is_empty"]

_NAME = ".lock"


class Lock:
    """A lock on a folder as a context manager; the operating system releases it if the process is killed.

    On file systems without locks the existence of the file ``.lock`` is the lock; it remains if the process
    is killed.

    Args:
        folder: an existing folder.
        name: name of the lock file; processes that share the work each use their own.

    Raises:
        RequestError: another process holds the lock; the message says which.
        WorkError: the folder is not writable.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Lock(Path(folder)):
        ...         is_empty(Path(folder))
        ...     list(Path(folder).iterdir())
        True
        []
    """

    def __init__(self, folder: Path, name: str = _NAME) -> None:
        self.folder, self.path = folder, folder / name
        self.number = -1

    def __enter__(self) -> Lock:
        try:
            while not self._taken():
                pass
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise RequestError(f"{self.path} is a link, which is not followed. Remove it.") from error
            raise WorkError(
                f"{self.folder} cannot be written to: {error.strerror or error}. Name another folder."
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # before the lock is released: a waiting process sees that the file is gone
            self.path.unlink()
        os.close(self.number)
        self.number = -1

    def _taken(self) -> bool:
        """Lock the file; False if it was replaced in the meantime, so that the caller tries again."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        if not files.LOCKS:
            self._without(flags)
            return True
        self.number = os.open(self.path, flags, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(self.number).st_mode):
                raise RequestError(f"{self.path} is not a file. Remove it.")
            if not files.lock(self.number):
                raise self._refused()
            mine = os.path.samestat(self.path.lstat(), os.fstat(self.number))
        except FileNotFoundError:
            mine = False
        except OSError as error:
            written = os.fstat(self.number).st_size > 0
            os.close(self.number)
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
                raise
            if not written:  # created just now
                self.path.unlink()
            self._without(flags)
            return True
        except BaseException:
            os.close(self.number)
            raise
        if mine:
            self._write_owner()
        else:
            os.close(self.number)
        return mine

    def _without(self, flags: int) -> None:
        """Lock by creating the file, for file systems without locks."""
        try:
            self.number = os.open(self.path, flags | os.O_EXCL, 0o666)
        except FileExistsError:
            raise self._refused(
                f"This file system has no locks: if that process has ended, remove {self.path}."
            ) from None
        self._write_owner()

    def _write_owner(self) -> None:
        os.ftruncate(self.number, 0)
        os.write(self.number, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())

    def _refused(self, fix: str = "Wait until it ends, stop it, or name another folder.") -> RequestError:
        who = "another process"
        with suppress(OSError, ValueError, KeyError, TypeError):
            held = files.read_json(self.path, 4096)
            who = f"process {int(held['pid'])} on {str(held['host'])[:80]!r}"
        return RequestError(f"{self.folder} is in use: {who} is working there. {fix}")


def is_empty(folder: Path) -> bool:
    """Whether a folder is empty except for lock and temporary files."""
    return all(path.name == _NAME or files.is_temporary(path) for path in folder.iterdir())
