"""Output of commands: JSON on stdout, and files, which are written atomically."""

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
    "one_a_row",
    "only_json",
    "print_json",
    "read_codes",
    "read_npz",
    "write_npz",
    "write_png",
    "write_table",
]


def print_json(document: Any) -> None:
    """Print a JSON document on stdout; numbers that are not finite become null.

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
def only_json(active: bool) -> Iterator[None]:
    """Redirect stdout to stderr in the context, so that stdout has the JSON document only."""
    if not active:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


def destination(path: Path, force: bool, kinds: Sequence[str]) -> Path:
    """Check that an output file can be written.

    Args:
        path: where to write.
        force: whether an existing file may be replaced.
        kinds: allowed suffixes, such as ``.npz``.

    Raises:
        RequestError: the suffix is another, or the path is a folder or an existing file.
    """
    if path.suffix.lower() not in kinds:
        raise refuse("--out", str(path), "a file with suffix " + " or ".join(kinds))
    if path.is_dir():
        raise refuse("--out", str(path), "a file, not a folder")
    if path.exists() and not force:
        raise refuse("--out", str(path), "a file that does not exist yet", "Use --force to replace it.")
    if not path.parent.is_dir():
        raise refuse("--out", str(path), "a file in a folder that exists", f"Create {path.parent} first.")
    return path


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name, with compression."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **dict(arrays))
    _write(path, buffer.getvalue())


def one_a_row(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of one number a row, such as (N, 1), as the columns of a table, (N,).

    Raises:
        RequestError: one has several numbers a row.
    """
    columns = {name: x.reshape(-1) if math.prod(x.shape[1:]) == 1 else x for name, x in found.items()}
    wide = [name for name, x in columns.items() if x.ndim > 1]
    if wide:
        raise refuse(
            "--out",
            f"a table of `{wide[0]}`, {list(found[wide[0]].shape[1:])} for each row",
            "an .npz file for what is more than one class or number a row",
            "Try --out x.npz.",
        )
    return columns


def write_table(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns of equal length as `.csv` or `.parquet`."""
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
    table = csv.writer(text, lineterminator="\n")  # NumPy numbers are printed with all their digits
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
    """Read codes in any format that `encode` writes.

    Raises:
        RequestError: the file does not exist, has another format, or has no codes.
    """
    if path.suffix.lower() not in (".csv", ".parquet"):
        return read_npz(path)
    if not path.is_file():
        raise refuse("CODES", str(path), "a file that exists", "Write one with: narrows encode")
    from narrows.data.readers.columns import read_columns
    from narrows.runs.code_table import from_columns

    return from_columns(read_columns(path))


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read every array of an .npz file, without pickled objects.

    Raises:
        RequestError: the file does not exist, has another format, is damaged, or has pickled objects.
    """
    from narrows.data.readers import npy

    if not path.is_file():
        raise refuse("CODES", str(path), "an .npz file that exists", "Write one with: narrows encode")
    try:
        return npy.read_npz(path)[1]
    except RequestError as error:
        raise refuse("CODES", str(path), "an .npz file of plain arrays", str(error)) from error
