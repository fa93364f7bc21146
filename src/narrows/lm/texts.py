"""Text to read: plain files, JSON lines, parquet columns and saved `datasets` folders, document by document."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from narrows.check import RequestError, choice, nearest, optional, refuse

__all__ = ["SPLITS", "files", "fingerprint", "pieces", "read"]

SPLITS = ("file", "paragraph", "line")
"""What is one document of a plain text file."""

_PIECE = 1 << 14
_SAMPLED = 256 << 20
_BREAK = "<|endoftext|>"
_PLAIN = "a text file, .jsonl, .parquet, .arrow, any of them packed as .gz, or a folder of those"


def files(path: str | Path) -> list[Path]:
    """The files of a text: itself, or those in a folder, such as one saved by the package `datasets`.

    Raises:
        RequestError: there is no such file, or a folder has none that can be read.
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
        listed = json.loads((where / "state.json").read_text(encoding="utf-8"))["_data_files"]
        return [where / row["filename"] for row in listed]
    found = sorted(
        p for p in where.rglob("*") if p.is_file() and _kind(p) in (".txt", ".jsonl", ".parquet", ".arrow")
    )
    if not found:
        raise refuse("text", str(path), "a folder with files of text (.txt, .jsonl, .parquet, .arrow)")
    return found


def _kind(path: Path) -> str:
    """The suffix without .gz."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def fingerprint(paths: Iterable[Path]) -> str:
    """A SHA-256 of names, sizes and contents; of a file above 256 MiB its start, middle and end stand for it."""
    digest = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{path.name}|{size}|".encode())
        with path.open("rb") as file:
            if size <= _SAMPLED:
                digest.update(hashlib.file_digest(file, "sha256").digest())
                continue
            for start in (0, size // 2, size - (1 << 20)):
                file.seek(start)
                digest.update(file.read(1 << 20))
    return digest.hexdigest()


def read(paths: Sequence[Path], key: str = "text", split: str = "file") -> Iterator[tuple[Any, bool]]:
    r"""Every document, a long plain one in pieces.

    Args:
        paths: files, see `files`.
        key: the key of JSON lines or the column of a table that holds the document.
        split: what is one document of a plain text file, of `SPLITS`; ``<|endoftext|>`` ends one in any case.

    Yields:
        The document, or a piece of it, and whether more of it follows. Pieces of 16 KiB, cut at the end of a line,
        are tokenised two to three times as fast as a long text, and to the same tokens, save that a tokenizer which
        puts a blank before a text puts one before each piece.

    Raises:
        RequestError: a file that cannot be read as what it is; of JSON lines, the line.

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
    """A text file, packed or not; what is wrong with it is said in a sentence."""
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if path.name.lower().endswith(".gz")
            else path.open(encoding="utf-8")
        ) as file:
            yield file
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise RequestError(f"The text {path} cannot be read: {error}. Give plain UTF-8 text.") from error


def _plain(path: Path, split: str) -> Iterator[tuple[str, bool]]:
    """Documents of a plain file, in pieces that end where a line does."""
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
        cut = rest.rfind("\n", 0, -1) + 1  # the last line end may be half of a paragraph's
        if len(rest) >= _PIECE and cut:
            yield rest[:cut], True
            rest, open_document = rest[cut:], True
    if rest.strip() or open_document:
        yield rest, False


def _parts(text: str, ends: str) -> list[str]:
    """Documents of a stretch of text, empty ones among them; the last one may go on."""
    whole = text.split(_BREAK)
    return whole if ends == _BREAK else [part for piece in whole for part in piece.split(ends)]


def _json_lines(path: Path, key: str) -> Iterator[Any]:
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise RequestError(f"Line {number} of {path} is no JSON: {error}.") from error
            if not isinstance(row, dict) or key not in row:
                known = list(row) if isinstance(row, dict) else []
                raise refuse(
                    "key", key, f"a key of line {number} of {path.name}", nearest(key, known) if known else ""
                )
            yield row[key]


def _parquet(path: Path, key: str) -> Iterator[Any]:
    parquet = optional("pyarrow.parquet", "tables", "read parquet")
    table = _sound(path, lambda: parquet.ParquetFile(path))
    _column(path, key, table.schema_arrow.names)
    for batch in table.iter_batches(batch_size=1024, columns=[key]):
        yield from batch.column(0).to_pylist()


def _arrow(path: Path, key: str) -> Iterator[Any]:
    arrow = optional("pyarrow", "tables", "read a data set in Arrow files")
    with arrow.memory_map(str(path)) as source:
        batches = _sound(path, lambda: arrow.ipc.open_stream(source))
        _column(path, key, batches.schema.names)
        for batch in batches:
            yield from batch.column(key).to_pylist()


def _sound(path: Path, opened: Any) -> Any:
    try:
        return opened()
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise RequestError(f"{path} cannot be read: truncated or damaged ({error}).") from error


def _column(path: Path, key: str, columns: list[str]) -> None:
    if key not in columns:
        raise refuse("key", key, f"a column of {path.name}", nearest(key, columns))
