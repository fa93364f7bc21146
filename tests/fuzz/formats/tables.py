"""Tables: text, packed text and Parquet."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuzz.format import Format
from fuzz.formats.arrays import numbers, opened


def _text() -> str:
    rows = [
        f"{a:.5f},{b:.5f},{i},{('red', 'blue', 'green, or so')[i % 3]!r}"
        for i, (a, b) in enumerate(numbers(50, 2).tolist())
    ]
    return "\n".join(["width,height,count,label", *rows]).replace("'", '"') + "\n"


def _csv(folder: Path) -> None:
    (folder / "t.csv").write_text(_text())


def _gz(folder: Path) -> None:
    (folder / "t.csv.gz").write_bytes(gzip.compress(_text().encode(), mtime=0))


def _parquet(folder: Path) -> None:
    x = numbers(60, 3)
    table = pa.table({"a": x[:, 0], "b": x[:, 1], "n": np.arange(60), "label": ["u", "v", "w"] * 20})
    pq.write_table(table, folder / "t.parquet")


def _lists(folder: Path) -> None:
    table = pa.table({"acts": list(numbers(40, 5)), "label": np.arange(40) % 2})
    pq.write_table(table, folder / "t.parquet", compression="zstd")


FORMATS = (
    Format("csv", _csv, lambda f: opened(f / "t.csv")),
    Format("csv-gz", _gz, lambda f: opened(f / "t.csv.gz")),
    Format("parquet", _parquet, lambda f: opened(f / "t.parquet")),
    Format("parquet-lists", _lists, lambda f: opened(f / "t.parquet"), share=0.5),
)
