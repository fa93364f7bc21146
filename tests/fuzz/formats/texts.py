"""Texts to harvest from: plain and packed ones, JSON lines, Parquet, and data sets saved as Arrow files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fuzz.format import Format
from narrows.activations.texts import files, fingerprint, read

_STORIES = [
    f"Story {i}: the boat went out at dawn.\n\nNobody saw it again. \u00fc{'a' * (i % 7)}" for i in range(40)
]
_WARM = ("narrows.activations.texts", "pyarrow.parquet", "pyarrow.ipc")


def _plain(folder: Path) -> None:
    packed = gzip.compress("\n<|endoftext|>\n".join(_STORIES * 20).encode(), mtime=0)
    (folder / "a.txt.gz").write_bytes(packed)


def _lines(folder: Path) -> None:
    lines = "".join(json.dumps({"text": story, "n": i}) + "\n" for i, story in enumerate(_STORIES))
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))
    (folder / "b.jsonl").write_text(lines)


def _parquet(folder: Path) -> None:
    table = pa.table({"text": _STORIES, "n": list(range(40))})
    pq.write_table(table, folder / "a.parquet", row_group_size=16)
    pq.write_table(table, folder / "b.parquet", compression="gzip", use_dictionary=False)


def _saved(folder: Path, compression: str | None = None) -> None:
    """As `datasets.Dataset.save_to_disk` lays it out."""
    turns = [[{"role": "user", "content": story}] for story in _STORIES]
    table = pa.table({"text": _STORIES, "large": pa.array(_STORIES, pa.large_string()), "messages": turns})
    names = [f"data-0000{i}-of-00002.arrow" for i in range(2)]
    options = pa.ipc.IpcWriteOptions(compression=compression)
    for name, part in zip(names, (table[:25], table[25:]), strict=True):
        new = pa.ipc.new_stream
        with pa.OSFile(str(folder / name), "wb") as sink, new(sink, table.schema, options=options) as writer:
            writer.write_table(part, max_chunksize=10)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")


def _packed(folder: Path) -> None:
    _saved(folder, "zstd")


def documents(folder: Path, *keys: str) -> Any:
    """Every document under each of some keys, and the digest of the files."""
    found = files(folder)
    return [fingerprint(found), *([list(read(found, key)) for key in keys])]


FORMATS = (
    Format("text-gz", _plain, lambda f: list(read(files(f))), warm=_WARM),
    Format("text-lines", _lines, lambda f: list(read(files(f))), warm=_WARM),
    Format("text-parquet", _parquet, lambda f: list(read(files(f))), warm=_WARM),
    Format("text-arrow", _saved, lambda f: documents(f, "text", "large", "messages"), warm=_WARM),
    Format("text-arrow-zstd", _packed, lambda f: documents(f, "text", "messages"), warm=_WARM),
)
