"""Atomic file writes: a file is written under a random temporary name, then renamed.

All files of the package are written by this module. Symbolic links in a folder are never followed, since the
folder may come from somebody else: a link at the target path is replaced by the new file, and its own target
    is unchanged.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from narrows.core.check import WorkError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "LOCKS",
    "append",
    "check_no_link",
    "is_temporary",
    "lock",
    "parse_json",
    "read_json",
    "remove_temporary_files",
    "replacing",
    "sha256",
    "with_checksum",
    "without_checksum",
    "write",
]

LOCKS = fcntl is not None
"""Whether this system can lock a file so that the lock ends with the process."""

_ELSEWHERE = "Free some, or write elsewhere."
_NEW = os.O_CREAT | os.O_EXCL
_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_DEEPEST = 64
_TEMPORARY = re.compile(r"\.narrows-[0-9a-f]{16}\.tmp")


@contextmanager
def replacing(path: Path, advice: str = _ELSEWHERE) -> Iterator[BinaryIO]:
    """Write to a temporary file, which is renamed to `path` once all of it is on the disk.

    The file has the mode that the user's umask gives to new files.

    Args:
        path: the file; a symbolic link of this name is replaced, not followed.
        advice: the sentence to add to the error when the disk is full.

    Raises:
        WorkError: the file cannot be written; an existing file is unchanged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder) / "x.txt") as file:
        ...         _ = file.write(b"all of it")
        ...     [p.name for p in Path(folder).iterdir()]
        ['x.txt']
    """
    temporary = None
    try:
        temporary, number = _new_temporary(path.parent)
        with os.fdopen(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if LOCKS:  # while it is still locked, so that no other process removes it as abandoned
                temporary.replace(path)
        if not LOCKS:  # Windows renames closed files only
            temporary.replace(path)
    except OSError as error:
        _remove(temporary)
        raise _not_written(path, error, advice) from error
    except BaseException:
        _remove(temporary)
        raise


def write(path: Path, content: bytes, advice: str = _ELSEWHERE) -> None:
    """Write a small file, as `replacing` does.

    Raises:
        WorkError: the file cannot be written; an existing file is unchanged.
    """
    with replacing(path, advice) as file:
        file.write(content)


def append(path: Path, content: bytes, advice: str = _ELSEWHERE) -> None:
    """Append to a file, which is created if it does not exist; a symbolic link is refused.

    Raises:
        WorkError: the file cannot be written.
    """
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _SAFE, 0o666)
        with os.fdopen(number, "ab") as file:
            file.write(content)
    except OSError as error:
        raise _not_written(path, error, advice) from error


def check_no_link(folder: Path) -> None:
    """Raise an error if a folder that is written to is a link.

    Raises:
        WorkError: it is one.
    """
    if folder.is_symlink():
        raise WorkError(f"{folder} is a link, which is not followed. Replace it by the folder itself.")


def lock(number: int) -> bool:
    """Lock an open file for this process, without waiting; False if another process holds the lock.

    The operating system releases the lock when the process ends. On systems without such locks (see `LOCKS`)
    nothing is locked.

    Args:
        number: the file descriptor, which must stay open as long as the lock is needed.

    Raises:
        OSError: the file system has no locks.
    """
    if not LOCKS:
        return True
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def is_temporary(path: Path) -> bool:
    """Whether a path has the name of a temporary file of `replacing`."""
    return _TEMPORARY.fullmatch(path.name) is not None


def remove_temporary_files(folder: Path) -> None:
    """Remove the temporary files of killed processes from a folder, but none that is being written."""
    for path in folder.iterdir() if LOCKS else ():
        if not is_temporary(path):
            continue
        with suppress(OSError):
            number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _SAFE)
            try:
                if stat.S_ISREG(os.fstat(number).st_mode) and lock(number):
                    path.unlink()
            finally:
                os.close(number)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse_json(text: str) -> Any:
    """Parse untrusted JSON: NaN, infinity and deep nesting are refused too.

    Raises:
        ValueError: the text is no such JSON; the message says why.

    Example:
        >>> parse_json('{"a": [1, 1e999]}')
        Traceback (most recent call last):
        ValueError: 1e999 is not a finite number
    """
    try:
        value = json.loads(text, parse_constant=_finite, parse_float=_finite)
        if _nested(value, _DEEPEST):
            return value
    except RecursionError:
        pass
    raise ValueError(f"it is nested more than {_DEEPEST} deep")


def read_json(path: Path, most: int = 64 << 20) -> Any:
    """Read JSON from a file that may be damaged or untrusted.

    Args:
        path: the file.
        most: the largest size in bytes; a larger file is not read.

    Raises:
        ValueError: the file cannot be read, or is not JSON; the message says why.
        FileNotFoundError: the file does not exist.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ValueError("it is no file")
        if size > most:
            raise ValueError(f"it has {size:,} bytes, more than {most:,}")
        return parse_json(path.read_bytes().decode())
    except FileNotFoundError:
        raise
    except NotADirectoryError as error:
        raise FileNotFoundError(error.errno, error.strerror, str(path)) from error
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror or error}") from error


def with_checksum(form: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a JSON mapping with its own SHA-256 added; `without_checksum` verifies it.

    Example:
        >>> without_checksum(with_checksum({"steps": 3}))
        {'steps': 3}
    """
    return {**form, "sha256": _digest(form)}


def without_checksum(form: Any) -> dict[str, Any]:
    """Verify the checksum that `with_checksum` added, and return the mapping without it.

    Raises:
        ValueError: the checksum is missing, or does not match.
    """
    if not isinstance(form, dict) or "sha256" not in form:
        raise ValueError("its checksum is missing")
    inner = {k: v for k, v in form.items() if k != "sha256"}
    if form["sha256"] != _digest(inner):
        raise ValueError("its checksum does not match")
    return inner


def _digest(form: Mapping[str, Any]) -> str:
    text = json.dumps(form, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def _nested(value: Any, left: int) -> bool:
    """Whether lists and mappings are nested at most `left` deep."""
    if isinstance(value, (list, dict)):
        inner = value.values() if isinstance(value, dict) else value
        return left > 0 and all(_nested(v, left - 1) for v in inner)
    return True


def _new_temporary(folder: Path) -> tuple[Path, int]:
    """A new, empty, locked file in a folder, and its descriptor."""
    while True:
        path = folder / f".narrows-{secrets.token_hex(8)}.tmp"
        number = os.open(path, os.O_WRONLY | _NEW | _SAFE, 0o666)
        if _claimed(path, number):
            return path, number
        os.close(number)  # removed by another process before it was locked: make another


def _claimed(path: Path, number: int) -> bool:
    try:
        locked = lock(number)
    except OSError:  # a file system without locks: no process removes temporary files on it
        return True
    try:
        return locked and os.path.samestat(path.lstat(), os.fstat(number))
    except FileNotFoundError:
        return False


def _remove(path: Path | None) -> None:
    if path is not None:
        with suppress(OSError):
            path.unlink()


def _not_written(path: Path, error: OSError, advice: str) -> WorkError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WorkError(f"No space is left to write {path}. An existing file is kept. {advice}".rstrip())
    if error.errno == errno.ELOOP:
        return WorkError(f"{path} is a link, which is not followed. Remove it.")
    return WorkError(f"{path} cannot be written: {error.strerror or error}.")
