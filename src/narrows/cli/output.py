"""What commands write: JSON on stdout, and files that are there whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrows.cli.errors import note
from narrows.core import files
from narrows.core.check import RequestError, refuse

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "destination",
    "only_json",
    "print_json",
    "read_codes",
    "read_npz",
    "write_npz",
    "write_png",
    "write_table",
]


def print_json(document: Any) -> None:
    """Print one JSON document on stdout; a number that is not finite becomes null.

    Example:
        >>> print_json({"nll": float("nan"), "k": 3})
        {
          "nll": null,
          "k": 3
        }
    """
    print(json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextmanager
def only_json(wanted: bool) -> Iterator[None]:
    """Send whatever is printed inside to stderr, so that stdout holds the document alone."""
    if not wanted:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


def destination(path: Path, force: bool, kinds: Sequence[str]) -> Path:
    """Check that a file may be written, before any work is done.

    Args:
        path: where to write.
        force: whether an existing file may be replaced.
        kinds: the endings that are understood, such as ``.npz``.

    Raises:
        RequestError: another ending, a folder, or a file that exists.
    """
    if path.suffix.lower() not in kinds:
        raise refuse("--out", str(path), "a file that ends in " + " or ".join(kinds))
    if path.is_dir():
        raise refuse("--out", str(path), "a file, not a folder")
    if path.exists() and not force:
        raise refuse("--out", str(path), "a file that does not exist yet", "Give --force to replace it.")
    if not path.parent.is_dir():
        raise refuse("--out", str(path), "a file in a folder that exists", f"Create {path.parent} first.")
    return path


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name, compressed."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **dict(arrays))
    _write(path, buffer.getvalue())


def write_table(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns of equal length under their names, as `.csv` or `.parquet`."""
    import numpy as np

    arrays = {name: np.asarray(values) for name, values in columns.items()}
    if path.suffix.lower() == ".parquet":
        from narrows.core.check import optional

        table = optional("pyarrow", "tables", "write Parquet files").table(arrays)
        buffer = io.BytesIO()
        optional("pyarrow.parquet", "tables", "write Parquet files").write_table(table, buffer)
        _write(path, buffer.getvalue())
        return
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")  # numbers of NumPy print as many digits as they have
    table.writerow(arrays)
    table.writerows(map(str, row) for row in zip(*arrays.values(), strict=True))
    _write(path, text.getvalue().encode())


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an image (H, W) or (H, W, 3) of bytes."""
    from narrows.core.check import optional

    buffer = io.BytesIO()
    optional("PIL.Image", "images", "write a picture").fromarray(image).save(buffer, format="PNG")
    _write(path, buffer.getvalue())


def _write(path: Path, content: bytes) -> None:
    files.write(path, content)
    note(f"Wrote {path}")


def read_codes(path: Path) -> dict[str, np.ndarray]:
    """Read codes as `encode` wrote them, whichever way.

    Raises:
        RequestError: no such file, another format, or no codes inside.
    """
    if path.suffix.lower() not in (".csv", ".parquet"):
        return read_npz(path)
    if not path.is_file():
        raise refuse("CODES", str(path), "a file that exists", "Write one with: narrows encode")
    from narrows.data.readers.tables import read_columns
    from narrows.runs.code_table import from_columns

    return from_columns(read_columns(path))


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read every array of an .npz file; never an object, which could run code.

    Raises:
        RequestError: no such file, another format, damage, or objects inside.
    """
    from narrows.data.readers import npy

    if not path.is_file():
        raise refuse("CODES", str(path), "an .npz file that exists", "Write one with: narrows encode")
    try:
        return npy.read_npz(path)[1]
    except RequestError as error:
        raise refuse("CODES", str(path), "an .npz file of plain arrays", str(error)) from error
