"""Files that are there whole or not at all: written under a name that nobody can guess, then renamed.

Every file that the package writes goes through here. A folder may come from a stranger, who may have put links into
it: none is followed. A target that is a link is replaced by the new file, and what it pointed to stays as it was.
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
    "is_side",
    "lock",
    "parse_json",
    "read_json",
    "remove_sides",
    "replacing",
    "seal",
    "sha256",
    "unseal",
    "write",
]

LOCKS = fcntl is not None
"""Whether this system can lock a file so that the lock ends with the process."""

_ELSEWHERE = "Free some, or write elsewhere."
_NEW = os.O_CREAT | os.O_EXCL
_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_DEEPEST = 64
_SIDE = re.compile(r"\.narrows-[0-9a-f]{16}\.tmp")


@contextmanager
def replacing(path: Path, advice: str = _ELSEWHERE) -> Iterator[BinaryIO]:
    """Write a file to a side; it gets its name when all of it is on the disk, or never.

    The file has the mode that the user's umask gives to new files.

    Args:
        path: the file; a link of this name is replaced, not followed.
        advice: what to do where there is no space, a sentence.

    Raises:
        WorkError: it cannot be written; what was there before stays.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder) / "x.txt") as file:
        ...         _ = file.write(b"all of it")
        ...     [p.name for p in Path(folder).iterdir()]
        ['x.txt']
    """
    side = None
    try:
        side, number = _new_side(path.parent)
        with os.fdopen(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if LOCKS:  # while it is still locked, so that nobody takes it for left over
                side.replace(path)
        if not LOCKS:  # Windows renames closed files only
            side.replace(path)
    except OSError as error:
        _remove(side)
        raise _not_written(path, error, advice) from error
    except BaseException:
        _remove(side)
        raise


def write(path: Path, content: bytes, advice: str = _ELSEWHERE) -> None:
    """Write a small file, as `replacing` does.

    Raises:
        WorkError: it cannot be written; what was there before stays.
    """
    with replacing(path, advice) as file:
        file.write(content)


def append(path: Path, content: bytes, advice: str = _ELSEWHERE) -> None:
    """Add to the end of a file, which is made where there is none; a link is refused.

    Raises:
        WorkError: it cannot be written.
    """
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _SAFE, 0o666)
        with os.fdopen(number, "ab") as file:
            file.write(content)
    except OSError as error:
        raise _not_written(path, error, advice) from error


def lock(number: int) -> bool:
    """Lock an open file for this process, without waiting; False where another has it.

    The system gives the lock up when the process ends, however it ends. Where it has no such locks (see `LOCKS`)
    nothing is locked.

    Args:
        number: the file's descriptor, which must stay open as long as the lock is needed.

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


def is_side(path: Path) -> bool:
    """Whether a file has the name of one that is being written, or was when its process was killed."""
    return _SIDE.fullmatch(path.name) is not None


def remove_sides(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder; what is being written now is locked, and stays."""
    for path in folder.iterdir() if LOCKS else ():
        if not is_side(path):
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
    """JSON of which nothing is trusted: also refused are NaN, infinity and what is nested without end.

    Raises:
        ValueError: no such JSON; the text says why.

    Example:
        >>> parse_json('{"a": [1, 1e999]}')
        Traceback (most recent call last):
        ValueError: 1e999 is no finite number
    """
    try:
        value = json.loads(text, parse_constant=_finite, parse_float=_finite)
        if _nested(value, _DEEPEST):
            return value
    except RecursionError:
        pass
    raise ValueError(f"it is nested more than {_DEEPEST} deep")


def read_json(path: Path, most: int = 64 << 20) -> Any:
    """The JSON of a file that may be damaged, or a stranger's.

    Args:
        path: the file.
        most: bytes that it may have; a larger one is not read.

    Raises:
        ValueError: what it holds is no JSON, or no file is there that can be read; the text says why.
        FileNotFoundError: nothing is there.
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
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror or error}") from error


def seal(form: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping for JSON with its own checksum in it; `unseal` compares them.

    Example:
        >>> unseal(seal({"steps": 3}))
        {'steps': 3}
    """
    return {**form, "sha256": _digest(form)}


def unseal(form: Any) -> dict[str, Any]:
    """What was sealed, without the checksum.

    Raises:
        ValueError: not a single bit of its meaning may have changed, and some have.
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
        raise ValueError(f"{text} is no finite number")
    return value


def _nested(value: Any, left: int) -> bool:
    """Whether lists and mappings lie at most so deep in each other."""
    if isinstance(value, (list, dict)):
        inner = value.values() if isinstance(value, dict) else value
        return left > 0 and all(_nested(v, left - 1) for v in inner)
    return True


def _new_side(folder: Path) -> tuple[Path, int]:
    """A new empty file in a folder, locked, and its descriptor."""
    while True:
        side = folder / f".narrows-{secrets.token_hex(8)}.tmp"
        number = os.open(side, os.O_WRONLY | _NEW | _SAFE, 0o666)
        if _claimed(side, number):
            return side, number
        os.close(number)  # taken for left over before it was locked: make another


def _claimed(side: Path, number: int) -> bool:
    try:
        locked = lock(number)
    except OSError:  # a file system without locks: nothing is taken for left over either
        return True
    try:
        return locked and os.path.samestat(side.lstat(), os.fstat(number))
    except FileNotFoundError:
        return False


def _remove(side: Path | None) -> None:
    if side is not None:
        with suppress(OSError):
            side.unlink()


def _not_written(path: Path, error: OSError, advice: str) -> WorkError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WorkError(f"No space is left to write {path}. What was there is kept. {advice}".rstrip())
    if error.errno == errno.ELOOP:
        return WorkError(f"{path} is a link, which is not followed. Remove it.")
    return WorkError(f"{path} cannot be written: {error.strerror or error}.")
