"""Arrays in memory: numpy, torch, data frames, pairs (x, y) and mappings with x_train, y_train, x_test ..."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from narrows.core.check import RequestError, refuse
from narrows.data.raw import Raw
from narrows.data.readers.fields import as_raw, read_fields

__all__ = ["from_mapping", "from_memory", "numeric"]


def from_memory(
    what: Any,
    labels: Any = None,
    target: Any = None,
    layout: str = "auto",
    kind: Literal["array", "field"] = "array",
) -> Raw:
    """Read arrays.

    Args:
        what: an array (N, ...), a pair (x, labels) or a mapping of arrays.
        labels: the class of each example, (N,).
        target: the target of each example, (N, ...).
        layout: the memory layout of an example, see `narrows.data.shapes`.
        kind: ``field`` reads a mapping with ``u`` and ``grid`` or ``points``, see `narrows.data.readers.fields`.

    Example:
        >>> from_memory((np.zeros((2, 3)), ["a", "b"])).labels.tolist()
        ['a', 'b']
    """
    if kind == "field" and isinstance(what, Mapping) and {"u", "grid", "points"} & set(what):
        fields = as_raw(read_fields({k: numeric(k, v) for k, v in what.items()}, "arrays"))
        return replace(fields, labels=None if labels is None else numeric("labels", labels))
    if isinstance(what, Mapping):
        return from_mapping({k: numeric(k, v) for k, v in what.items()}, layout=layout)
    if isinstance(what, tuple) and len(what) == 2:
        if labels is not None:
            raise refuse("labels", "an array", "left out if the data are a pair (x, labels)")
        what, labels = what
    return Raw(
        numeric("what", what),
        None if labels is None else numeric("labels", labels),
        None if target is None else numeric("target", target),
        layout=layout,
    )


def numeric(argument: str, value: Any, text: bool = False) -> np.ndarray:
    """Any array-like as a numpy array of numbers or text; with `text`, also objects that are all text."""
    if isinstance(value, torch.Tensor):
        value = value.detach().to("cpu")
        value = (value.to(torch.float32) if value.dtype == torch.bfloat16 else value).numpy()
    _refuse_masked(argument, value)
    try:
        array = value if isinstance(value, np.memmap) else np.asarray(value)
    except (TypeError, ValueError) as error:
        raise refuse(argument, value, "an array with rows of the same shape", f"({error})") from error
    texts = text and array.dtype == object and all(v is None or isinstance(v, str) for v in array.flat)
    if array.dtype == object and not texts:
        raise refuse(
            argument,
            f"an array of objects of shape {array.shape}",
            "an array of numbers",
            "Check for rows of different lengths, or text among numbers.",
        )
    return array


def _refuse_masked(argument: str, value: Any) -> None:
    """Raise an error for masked values, like NaN, as conversion to an array would drop the mask."""
    parts = value if isinstance(value, (list, tuple)) else [value]
    if not any(np.ma.isMaskedArray(part) for part in parts):
        return
    hidden = np.ma.getmaskarray(value if parts is not value else np.ma.stack(parts))
    if hidden.any():
        row = int(np.argwhere(hidden)[0][0])
        raise RequestError(
            f"`{argument}` must have no missing numbers, but {int(hidden.sum())} are masked; the first is in "
            f"row {row}. Drop those rows or fill them first, such as with np.ma.filled(x, x.mean())."
        )


def from_mapping(arrays: Mapping[str, np.ndarray], layout: str = "auto") -> Raw:
    """Read x_train, y_train, x_test, y_test, or x and y, in any case of letters."""
    lower = {k.lower(): v for k, v in arrays.items()}
    if "x_train" in lower:
        raw = Raw(lower["x_train"], lower.get("y_train"), layout=layout)
        if "x_test" in lower:
            raw.test = Raw(lower["x_test"], lower.get("y_test"), layout=layout)
        return raw
    if "x" in lower:
        return Raw(lower["x"], lower.get("y"), layout=layout)
    raise RequestError(
        f"There are arrays {', '.join(f'`{k}`' for k in arrays)}, but none is named x or x_train."
    )
