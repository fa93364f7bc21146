"""Codes as a table: a row for each example, a named column for each number, as `.csv` and `.parquet` hold them.

A dense code has the columns `z0`, `z1` ..., with a further number for each further axis (`z0_3_1`). A quantised code
has `index0` .... A sparse code has a pair for each active latent, `index0`, `value0`, `index1` ..., and `width`, the
number of latents. `scale0` ... are the standard deviations of a Gaussian posterior with mean z; `condition/labels0` ...
are the conditions of encoder and decoder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from narrows.core.check import RequestError

__all__ = ["from_columns", "to_columns"]

_COLUMN = {"indices": "index", "values": "value", "z": "z", "scale": "scale"}
_ARRAY = {column: array for array, column in _COLUMN.items()}
_CONDITION = "condition/"
_NAME = re.compile(rf"({'|'.join(_ARRAY)}|{_CONDITION}.*?)(\d+(?:_\d+)*)")
_MOST = 1 << 20
"""The largest number of columns."""


def to_columns(codes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The result of `Run.encode` as columns, without `mean` and `features`.

    Without some latents (`drop`), the columns of the others have their indices in the full code.

    Example:
        >>> list(to_columns({"z": np.zeros((5, 2)), "scale": np.ones((5, 2)), "features": np.zeros((5, 2))}))
        ['z0', 'z1', 'scale0', 'scale1']
    """
    columns: dict[str, np.ndarray] = {}
    kept = codes.get("kept")
    conditions = {name: name for name in codes if name.startswith(_CONDITION)}
    for array, column in {**_COLUMN, **conditions}.items():
        if array not in codes or (array == "values" and "index0" in columns):
            continue
        for index in np.ndindex(codes[array].shape[1:]):
            latent = index if kept is None or array not in ("z", "scale") else (kept[index[0]], *index[1:])
            at = "_".join(map(str, latent))
            columns[f"{column}{at}"] = codes[array][(slice(None), *index)]
            if array == "indices" and "values" in codes:
                columns[f"value{at}"] = codes["values"][(slice(None), *index)]
    if "width" in codes:
        rows = len(codes["indices"])
        columns["width"] = np.full(rows, int(codes["width"]))
    return columns


def from_columns(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `to_columns`; other columns are ignored.

    Raises:
        RequestError: a column of a code is missing, or is not numeric.

    Example:
        >>> back = from_columns(to_columns({"z": np.arange(6.0).reshape(1, 2, 3)}))
        >>> bool((back["z"] == np.arange(6.0).reshape(1, 2, 3)).all())
        True
    """
    parts_of: dict[str, dict[tuple[int, ...], np.ndarray]] = {}
    for name, values in columns.items():
        found = _NAME.fullmatch(name)
        if found is not None:
            if not np.issubdtype(values.dtype, np.number):
                raise RequestError(f"Column `{name}` of the codes must hold numbers, but holds text.")
            at = tuple(int(n) for n in found[2].split("_"))
            parts_of.setdefault(_ARRAY.get(found[1], found[1]), {})[at] = values
    arrays = {array: _stacked(_COLUMN.get(array, array), parts) for array, parts in parts_of.items()}
    if "indices" in arrays:
        arrays["indices"] = arrays["indices"].astype(np.int64)
    if "width" in columns and "values" in arrays:
        arrays["width"] = np.asarray(columns["width"][0]).astype(np.int64)
    return arrays


def _stacked(column: str, parts: Mapping[tuple[int, ...], np.ndarray]) -> np.ndarray:
    axes = {len(at) for at in parts}
    shape = tuple(max(at[i] for at in parts) + 1 for i in range(max(axes)) if len(axes) == 1)
    expected = int(np.prod([min(n, _MOST) for n in shape], dtype=np.float64)) if shape else -1
    if expected != len(parts):
        raise RequestError(
            f"Some of the columns `{column}...` of the codes are missing: {len(parts)} were found. Codes without some "
            "latents (``drop``) are decoded from an .npz file."
        )
    table = np.stack([parts[at] for at in np.ndindex(shape)], axis=1)
    return table.reshape(len(table), *shape)
