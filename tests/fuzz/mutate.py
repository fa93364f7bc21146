"""Mutations of files: of their bytes, and of what is inside them (JSON, headers, members, rows), all from one seed."""

from __future__ import annotations

import gzip
import io
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from random import Random
from typing import TypeAlias

from fuzz.json_edits import edit_text

Edit: TypeAlias = "tuple[bytes | None, str]"
"""The new content (None: the file is gone), and what was done, in words."""

_EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
_NUMBERS = (
    b"-1",
    b"0",
    b"1",
    b"3",
    b"255",
    b"65536",
    b"4294967296",
    b"1000000000000",
    b"9" * 30,
    b"1e999",
    b"nan",
)
_CELLS = (
    "",
    "nan",
    "inf",
    "-1e400",
    "1e308",
    "9" * 5000,
    '"',
    '"a\nb"',
    "\x00",
    "text",
    "true",
    "0x10",
    "1_000",
    "é",
)
_TYPES = (
    "|O",
    "|O8",
    "<f16",
    "<f2",
    ">f8",
    "<U7",
    "|S3",
    "|V8",
    "<M8[ns]",
    "<c16",
    "f4,i8",
    "",
    "<f4\\n",
    "|b1",
    "<u8",
)


def mutate(name: str, data: bytes, rng: Random) -> Edit:
    """One change of a file, or now and then several.

    Args:
        name: the file's name; its ending says what is inside.
        data: the sound content.
        rng: where all chance comes from.
    """
    for _ in range(9):  # some edits leave all as it was
        changed, what = _mutate(name, data, rng)
        if changed != data:
            break
    return changed, what


def _mutate(name: str, data: bytes, rng: Random) -> Edit:
    inside = next((edit for ending, edit in _INSIDE.items() if name.lower().endswith(ending)), None)
    done: list[str] = []
    changed: bytes | None = data
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        if changed is None:
            break
        edit = inside if inside is not None and rng.random() < 0.6 else _bytes
        try:
            changed, what = edit(changed, rng)
        except Exception:  # an earlier change left nothing to look into, which libraries say in many ways
            changed, what = _bytes(changed, rng)
        done.append(what)
    return changed, ", then ".join(done)


def _bytes(data: bytes, rng: Random) -> Edit:
    return rng.choice(_OF_BYTES)(bytearray(data), rng)


def _place(data: bytearray, rng: Random, width: int = 1) -> int:
    """A position: near the beginning, near the end (where tables lie), or anywhere."""
    last = max(0, len(data) - width)
    near = min(last, 256)
    return rng.choice((rng.randint(0, near), rng.randint(last - near, last), rng.randint(0, last)))


def _flip(data: bytearray, rng: Random) -> Edit:
    places = [_place(data, rng) for _ in range(rng.choice((1, 1, 2, 8, 64)))] if data else []
    for at in places:
        data[at] ^= 1 << rng.randrange(8)
    return bytes(data), f"{len(places)} bits flipped from byte {min(places, default=0)} on"


def _overwrite(data: bytearray, rng: Random) -> Edit:
    at, count = _place(data, rng), rng.choice((1, 2, 4, 16, 200))
    data[at : at + count] = rng.randbytes(len(data[at : at + count]))
    return bytes(data), f"{count} bytes overwritten at {at}"


def _truncate(data: bytearray, rng: Random) -> Edit:
    keep = rng.choice((0, 1, _place(data, rng), _place(data, rng), max(0, len(data) - 1)))
    return bytes(data[:keep]), f"cut to {keep} bytes"


def _insert(data: bytearray, rng: Random) -> Edit:
    at, count = _place(data, rng), rng.choice((1, 3, 8, 500))
    data[at:at] = rng.randbytes(count)
    return bytes(data), f"{count} bytes inserted at {at}"


def _double(data: bytearray, rng: Random) -> Edit:
    at, count = _place(data, rng), rng.choice((1, 7, 64, 4096))
    data[at:at] = data[at : at + count]
    return bytes(data), f"{count} bytes doubled at {at}"


def _remove(data: bytearray, rng: Random) -> Edit:
    at, count = _place(data, rng), rng.choice((1, 7, 64, 4096))
    del data[at : at + count]
    return bytes(data), f"{count} bytes removed at {at}"


def _zero(data: bytearray, rng: Random) -> Edit:
    at, count = _place(data, rng), rng.choice((1, 8, 512, 4096))
    data[at : at + count] = bytes(len(data[at : at + count]))
    return bytes(data), f"{count} bytes zeroed at {at}"


def _length(data: bytearray, rng: Random) -> Edit:
    """Write an extreme whole number where a length may stand."""
    width, code = rng.choice(((2, "H"), (4, "I"), (8, "Q")))
    at = _place(data, rng, width) & ~rng.choice((0, 1, 3))
    value = rng.choice(_EXTREMES) & ((1 << 8 * width) - 1)
    number = struct.pack(rng.choice("<>") + code, value)
    data[at : at + width] = number
    return bytes(data), f"{width} bytes at {at} set to {value}"


def _digits(data: bytearray, rng: Random) -> Edit:
    """Another number in place of one that is written in digits."""
    runs = list(re.finditer(rb"\d+", bytes(data[: 1 << 16])))
    if not runs:
        return _flip(data, rng)
    run, new = rng.choice(runs), rng.choice(_NUMBERS)
    data[run.start() : run.end()] = new
    return bytes(data), f"the digits {run.group().decode()[:20]} at {run.start()} became {new.decode()[:20]}"


def _other(data: bytearray, rng: Random) -> Edit:
    kinds = {
        "noise": rng.randbytes(300),
        "zeros": bytes(300),
        "an empty mapping": b"{}",
        "a pickle": b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",
        "a page": b"<!doctype html><p>404",
        "one byte": b"\xff",
    }
    what = rng.choice(sorted(kinds))
    return kinds[what], f"replaced by {what}"


def _gone(data: bytearray, rng: Random) -> Edit:
    return None, "removed"


_SELDOM = (_other, _gone)
_OF_BYTES: tuple[Callable[[bytearray, Random], Edit], ...] = (
    *(_flip, _overwrite, _truncate, _insert, _double, _remove, _zero, _length, _digits) * 3,
    *_SELDOM,
)


def _json(data: bytes, rng: Random) -> Edit:
    text, what = edit_text(data.decode(), rng)
    return text, what


def _lines(data: bytes, rng: Random) -> Edit:
    """A line of JSON changed, lost, doubled or moved."""
    lines = data.splitlines()
    at = rng.randrange(len(lines))
    what = rng.choice(("edit", "edit", "edit", "lose", "double", "move"))
    if what == "edit":
        lines[at], done = edit_text(lines[at].decode(), rng)
        return b"\n".join(lines) + b"\n", f"line {at}: {done}"
    line = lines.pop(at)
    for _ in range({"lose": 0, "double": 2, "move": 1}[what]):
        lines.insert(rng.randint(0, len(lines)), line)
    return b"\n".join(lines) + b"\n", f"{what} line {at}"


def _safetensors(data: bytes, rng: Random) -> Edit:
    """The table of tensors changed, its length made to fit."""
    (length,) = struct.unpack("<Q", data[:8])
    table, what = edit_text(data[8 : 8 + length].decode(), rng)
    return struct.pack("<Q", len(table)) + table + data[8 + length :], f"table: {what}"


def _npy(data: bytes, rng: Random) -> Edit:
    """The header changed, its length made to fit."""
    if data[:6] != b"\x93NUMPY":
        raise ValueError("no .npy file")
    (length,) = struct.unpack("<H", data[8:10])
    header, body = data[10 : 10 + length].decode("latin1").rstrip(), data[10 + length :]
    what = rng.choice(("number", "number", "type", "type", "order", "key", "shape"))
    if what == "number":
        changed, done = _digits(bytearray(header.encode("latin1")), rng)
        header = (changed or b"").decode("latin1")
    elif what == "type":
        done = rng.choice(_TYPES)
        header = re.sub(r"'descr': '[^']*'", lambda _: f"'descr': '{done}'", header)
    elif what == "order":
        done, header = "order", header.replace("False", "True")
    elif what == "key":
        done = rng.choice(("descr", "shape", "fortran_order"))
        header = header.replace(f"'{done}'", rng.choice(("'other'", "0", "'descr'")))
    else:
        done = rng.choice(
            ("()", "(0,)", "(-1,)", "(2, 2, 2, 2)", "None", "[3]", "(1e3,)", "(" * 300, "(True, 8)")
        )
        header = re.sub(r"'shape': \([^)]*\)", lambda _: f"'shape': {done}", header)
    new = header.encode("latin1") + b"\n"
    return data[:8] + struct.pack("<H", len(new) & 0xFFFF) + new + body, f"header: {what} {done}"


def _zip(data: bytes, rng: Random) -> Edit:
    """A member changed, lost, renamed or doubled, the checksums made to fit."""
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        members = [(name, old.read(name)) for name in old.namelist()]
        packed = old.infolist()[0].compress_type
    at = rng.randrange(len(members))
    name, content = members[at]
    what = rng.choice(("edit", "edit", "edit", "edit", "lose", "rename", "double"))
    if what == "edit":
        changed, done = mutate(name, content, rng)
        members[at] = (name, changed or b"")
        what = f"{name}: {done}"
    elif what == "lose":
        members.pop(at)
    elif what == "rename":
        members[at] = (rng.choice(("other.npy", "../x.npy", "x", "", "x" * 3000)), content)
    else:
        members.append((rng.choice(("more.npy", f"{name}.npy")), content))
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", packed) as new:
        warnings.simplefilter("ignore", UserWarning)  # two members of one name are meant
        for called, inside in members:
            new.writestr(called, inside)
    return out.getvalue(), what


def _gzip(data: bytes, rng: Random) -> Edit:
    """The unpacked content changed and packed again."""
    text = gzip.decompress(data)
    changed, what = (_table if rng.random() < 0.7 else _bytes)(text, rng)
    return gzip.compress(changed or b"", mtime=0), f"unpacked: {what}"


def _table(data: bytes, rng: Random) -> Edit:
    """A cell changed, or a row lost, doubled, cut or lengthened."""
    rows = data.decode().split("\n")
    at = rng.randrange(len(rows))
    separator = max(",;\t", key=rows[0].count)
    cells = rows[at].split(separator)
    what = rng.choice(("cell", "cell", "cell", "column", "lose", "double", "shorter", "longer", "end"))
    if what == "cell":
        cells[rng.randrange(len(cells))] = rng.choice(_CELLS)
    elif what == "column":
        column, cell = rng.randrange(len(cells)), rng.choice(_CELLS)
        rows = [row if i == 0 else _with(row, separator, column, cell) for i, row in enumerate(rows)]
        return "\n".join(rows).encode(), f"column {column} became {cell[:10]!r}"
    elif what == "shorter":
        cells.pop()
    elif what == "longer":
        cells *= rng.choice((2, 500))
    rows[at] = separator.join(cells)
    if what == "lose":
        rows.pop(at)
    elif what == "double":
        rows[at:at] = [rows[at]] * rng.choice((1, 1000))
    elif what == "end":
        return rng.choice(("\r", "\r\n", "\n\n")).join(rows).encode(), "other line ends"
    return "\n".join(rows).encode(), f"{what} in row {at}"


def _with(row: str, separator: str, column: int, cell: str) -> str:
    cells = row.split(separator)
    if column < len(cells):
        cells[column] = cell
    return separator.join(cells)


_INSIDE: dict[str, Callable[[bytes, Random], Edit]] = {
    ".json": _json,
    ".jsonl": _lines,
    ".safetensors": _safetensors,
    ".npy": _npy,
    ".npz": _zip,
    ".gz": _gzip,
    ".csv": _table,
    ".tsv": _table,
}
