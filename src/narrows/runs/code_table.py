"""Codes as a table: a row for each example, a named column for each number, as `.csv` and `.parquet` hold them.

The columns say all that `decode` needs: `z0`, `z1` ... of a dense code, with one more number for each further axis
(`z0_3_1`); `index0` ... of a quantised one; of a sparse one a pair for each latent that may be on, `index0`, `value0`,
`index1` ..., and `width`, how many latents there are. `scale0` ... are the standard deviations of a Gaussian posterior,
whose mean is z; `condition/labels0` ... what both sides were told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from narrows.core.check import RequestError

__all__ = ["from_columns", "to_columns"]

_COLUMN = {"indices": "index", "values": "value", "z": "z", "scale": "scale"}
_ARRAY = {column: array for array, column in _COLUMN.items()}
_TOLD = "condition/"
_NAME = re.compile(rf"({'|'.join(_ARRAY)}|{_TOLD}.*?)(\d+(?:_\d+)*)")
_MOST = 1 << 20
"""More columns than this are no table that anybody meant."""


def to_columns(codes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `Run.encode` returned as columns, without what only a probe reads.

    Example:
        >>> list(to_columns({"z": np.zeros((5, 2)), "scale": np.ones((5, 2)), "features": np.zeros((5, 2))}))
        ['z0', 'z1', 'scale0', 'scale1']
    """
    columns: dict[str, np.ndarray] = {}
    told = {name: name for name in codes if name.startswith(_TOLD)}
    for array, column in {**_COLUMN, **told}.items():
        if array not in codes or (array == "values" and "index0" in columns):
            continue
        for place in np.ndindex(codes[array].shape[1:]):
            at = "_".join(map(str, place))
            columns[f"{column}{at}"] = codes[array][(slice(None), *place)]
            if array == "indices" and "values" in codes:
                columns[f"value{at}"] = codes["values"][(slice(None), *place)]
    if "width" in codes:
        rows = len(codes["indices"])
        columns["width"] = np.full(rows, int(codes["width"]))
    return columns


def from_columns(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays that `to_columns` made columns of; other columns are left alone.

    Raises:
        RequestError: a column of a code is missing, or holds no numbers.

    Example:
        >>> back = from_columns(to_columns({"z": np.arange(6.0).reshape(1, 2, 3)}))
        >>> bool((back["z"] == np.arange(6.0).reshape(1, 2, 3)).all())
        True
    """
    places: dict[str, dict[tuple[int, ...], np.ndarray]] = {}
    for name, values in columns.items():
        found = _NAME.fullmatch(name)
        if found is not None:
            if not np.issubdtype(values.dtype, np.number):
                raise RequestError(f"Column `{name}` of the codes must hold numbers, but holds text.")
            at = tuple(int(n) for n in found[2].split("_"))
            places.setdefault(_ARRAY.get(found[1], found[1]), {})[at] = values
    arrays = {array: _stacked(_COLUMN.get(array, array), parts) for array, parts in places.items()}
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
            f"The columns `{column}...` of the codes are not all there: {len(parts)} were found."
        )
    table = np.stack([parts[at] for at in np.ndindex(shape)], axis=1)
    return table.reshape(len(table), *shape)
