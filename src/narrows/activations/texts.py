"""Read text document by document: plain files, JSON lines, parquet columns and saved `datasets` folders."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from narrows.core.check import NarrowsError, RequestError, choice, nearest, optional, refuse

__all__ = ["SPLITS", "files", "fingerprint", "pieces", "read"]

SPLITS = ("file", "paragraph", "line")
"""The unit of a plain text file that is one document."""

_PIECE = 1 << 14
_LINE = 1 << 22
"""Characters after which a line without an end is split at a space, since a text may be a single line."""

_RECORD = 1 << 26
"""Largest number of characters of a line of JSON."""

_SAMPLED = 256 << 20
_BREAK = "<|endoftext|>"
_PLAIN = "a text file, .jsonl, .parquet, .arrow, any of them compressed as .gz, or a folder of those"


def files(path: str | Path) -> list[Path]:
    """The files of a text: itself, or those in a folder, such as one saved by the package `datasets`.

    Raises:
        RequestError: there is no such file, or the folder has none that can be read.
    """
    where = Path(path).expanduser()
    if where.is_file():
        return [where]
    if not where.is_dir():
        raise RequestError(f"There is no text {str(path)!r}. Give {_PLAIN}.")
    if (where / "dataset_dict.json").is_file():
        parts = sorted(p.name for p in where.iterdir() if p.is_dir())
        raise refuse(
            "text", str(path), "one part of that data set", f"Take {where / parts[0]}." if parts else ""
        )
    if (where / "state.json").is_file():
        found = _listed(where)
    else:
        found = sorted(
            p
            for p in where.rglob("*")
            if p.is_file() and _kind(p) in (".txt", ".jsonl", ".parquet", ".arrow")
        )
    if not found:
        raise refuse("text", str(path), "a folder with files of text (.txt, .jsonl, .parquet, .arrow)")
    for file in found:
        _inside(file, where)
    return found


def _listed(folder: Path) -> list[Path]:
    """The files of a data set saved by the package `datasets`, as its `state.json` lists them.

    Raises:
        RequestError: it is damaged, or names a file that is not in the folder.
    """
    path = folder / "state.json"
    try:
        names = [row["filename"] for row in json.loads(path.read_text(encoding="utf-8"))["_data_files"]]
        if wrong := [name for name in names if not _bare(name)]:
            raise ValueError(f"it names {str(wrong[0])[:80]!r}, which is not a file of this folder")
        if gone := [name for name in names if not (folder / name).is_file()]:
            raise ValueError(f"the file {gone[0][:80]} is missing")
        if other := [name for name in names if _kind(Path(name)) != ".arrow"]:
            raise ValueError(f"the file {other[0][:80]} is not an .arrow file")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise RequestError(f"{path} cannot be used: {reason}. Save the data set again.") from error
    return [folder / name for name in names]


def _bare(name: Any) -> bool:
    """Whether this is the name of a file without a folder."""
    return (
        isinstance(name, str) and name not in ("", ".", "..") and "\0" not in name and Path(name).name == name
    )


def _inside(file: Path, folder: Path) -> None:
    """Refuse a link that points out of a folder; links of the hub's cache point to the blobs of the same data set."""
    target, root = file.resolve(), folder.resolve()
    if root not in target.parents and root.parent.parent / "blobs" not in target.parents:
        raise RequestError(
            f"{file} is a link to {target}, outside the folder; such links are not followed. Give that file itself."
        )


def _kind(path: Path) -> str:
    """The suffix without .gz."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def fingerprint(paths: Iterable[Path]) -> str:
    """The SHA-256 of names, sizes and contents; of a file above 256 MiB only its start, middle and end are read."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            _digested(path, digest.update)
        except OSError as error:
            raise RequestError(f"{path} cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()


def _digested(path: Path, put: Callable[[bytes], None]) -> None:
    size = path.stat().st_size
    put(f"{path.name}|{size}|".encode("utf-8", "surrogateescape"))
    with path.open("rb") as file:
        if size <= _SAMPLED:
            put(hashlib.file_digest(file, "sha256").digest())
            return
        for start in (0, size // 2, size - (1 << 20)):
            file.seek(start)
            put(file.read(1 << 20))


def read(paths: Sequence[Path], key: str = "text", split: str = "file") -> Iterator[tuple[Any, bool]]:
    r"""Every document; a long plain text comes in pieces.

    Args:
        paths: files, see `files`.
        key: the key of JSON lines or the column of a table that holds the document.
        split: the unit of a plain text file that is one document, of `SPLITS`; ``<|endoftext|>`` always ends one.

    Yields:
        The document, or a piece of it, and whether more of it follows. Pieces have 16 KiB and end where a line ends.
        They are tokenised two to three times as fast as a long text, and to the same tokens, except that a tokenizer
        which adds a space before a text adds one before each piece.

    Raises:
        RequestError: a file that cannot be read; of JSON lines the message gives the line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.txt"
        ...     _ = path.write_text("one\n\ntwo\nthree", encoding="utf-8")
        ...     list(read([path], split="paragraph"))
        [('one', False), ('two\nthree', False)]
    """
    choice("split", split, SPLITS)
    for path in paths:
        kind = _kind(path)
        if kind in (".jsonl", ".ndjson"):
            yield from ((value, False) for value in _json_lines(path, key))
        elif kind == ".parquet":
            yield from ((value, False) for value in _parquet(path, key))
        elif kind == ".arrow":
            yield from ((value, False) for value in _arrow(path, key))
        else:
            yield from _plain(path, split)


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    """Open a text file, compressed or not; turn errors into one sentence."""
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if path.name.lower().endswith(".gz")
            else path.open(encoding="utf-8")
        ) as file:
            yield file
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise RequestError(f"The text {path} cannot be read: {error}. Give plain UTF-8 text.") from error


def _plain(path: Path, split: str) -> Iterator[tuple[str, bool]]:
    """Documents of a plain file, in pieces that end where a line ends."""
    with _opened(path) as file:
        yield from pieces(iter(lambda: file.read(_PIECE), ""), split)


def pieces(chunks: Iterable[str], split: str = "file") -> Iterator[tuple[str, bool]]:
    """Documents of a plain text that comes in chunks, long ones in pieces; see `read`."""
    ends = {"file": _BREAK, "paragraph": "\n\n", "line": "\n"}[split]
    rest, open_document = "", False
    for chunk in chunks:
        *whole, rest = _parts(rest + chunk, ends)
        for document in whole:
            if document.strip() or open_document:
                yield document, False
            open_document = False
        cut = rest.rfind("\n", 0, -1) + 1  # a line end at the very end may be half of a paragraph's end
        if not cut and len(rest) >= _LINE:  # a text without line ends
            blank = rest.rfind(" ")
            cut = blank if blank > 0 else len(rest)
        if len(rest) >= _PIECE and cut:
            yield rest[:cut], True
            rest, open_document = rest[cut:], True
    if rest.strip() or open_document:
        yield rest, False


def _parts(text: str, ends: str) -> list[str]:
    """Documents of a piece of text, empty ones included; the last one may be incomplete."""
    whole = text.split(_BREAK)
    return whole if ends == _BREAK else [part for piece in whole for part in piece.split(ends)]


def _json_lines(path: Path, key: str) -> Iterator[Any]:
    with _opened(path) as file:
        for number, line in enumerate(iter(lambda: file.readline(_RECORD + 1), ""), 1):
            if not line.strip():
                continue
            if len(line) > _RECORD:
                raise RequestError(f"Line {number} of {path} has more than {_RECORD:,} characters. Split it.")
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise RequestError(f"Line {number} of {path} is not JSON: {error}.") from error
            if not isinstance(row, dict) or key not in row:
                known = list(row) if isinstance(row, dict) else []
                raise refuse(
                    "key", key, f"a key of line {number} of {path.name}", nearest(key, known) if known else ""
                )
            yield row[key]


def _parquet(path: Path, key: str) -> Iterator[Any]:
    parquet = optional("pyarrow.parquet", "tables", "read parquet")
    with _sound(path):
        table = parquet.ParquetFile(path, page_checksum_verification=True)
        at = _column(path, key, table.schema_arrow.names)
        for batch in table.iter_batches(batch_size=1024, columns=[table.schema_arrow.names[at]]):
            yield from _values(batch.column(0))


def _arrow(path: Path, key: str) -> Iterator[Any]:
    """The values of a column. Only this column is read, and the file is not memory-mapped."""
    arrow = optional("pyarrow", "tables", "read a data set in Arrow files")
    ipc = arrow.ipc
    with _sound(path):
        with arrow.OSFile(str(path)) as source:
            at = _column(path, key, ipc.open_stream(source).schema.names)
        with arrow.OSFile(str(path)) as source:
            for batch in ipc.open_stream(source, options=ipc.IpcReadOptions(included_fields=[at])):
                yield from _values(batch.column(0))


def _values(column: Any) -> Iterator[Any]:
    """The values of an Arrow column, whose offsets, lengths and text are validated first.

    Without the validation, Arrow would read beyond the buffers of a damaged column.
    """
    column.validate(full=True)
    yield from column.to_pylist()


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """Turn the errors of a damaged table into one sentence."""
    lib = optional("pyarrow", "tables", "read tables").lib
    try:
        yield
    except NarrowsError:
        raise
    except (lib.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise RequestError(f"{path} cannot be read: truncated or damaged ({reason}).") from error


def _column(path: Path, key: str, columns: list[str]) -> int:
    """The number of a column."""
    if key not in columns:
        raise refuse("key", key, f"a column of {path.name}", nearest(key, columns))
    return columns.index(key)
