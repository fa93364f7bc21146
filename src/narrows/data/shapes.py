"""The layout of an array of examples: vectors, sequences or images.

============  =====================================  =================
stored as     read as                                an example's shape
============  =====================================  =================
(N, D)        vectors                                (D,)
(N, A, B)     bytes, or square from 0 to 1: images   (1, A, B)
(N, A, B)     other numbers, not square: sequences   (A, B)
(N, C, H, W)  the axis of at most 4, or else the     (C, H, W)
(N, H, W, C)  smallest, is the channels              (C, H, W)
============  =====================================  =================

If two layouts are possible, the option `layout` selects one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from narrows.core.check import RequestError, choice

__all__ = ["LAYOUTS", "infer_layout", "model_shape"]

LAYOUTS = ("auto", "vector", "sequence", "image", "chw", "hwc")
_NDIM = {"vector": (2,), "sequence": (3,), "image": (3, 4), "chw": (4,), "hwc": (4,)}


def infer_layout(x: np.ndarray, layout: str = "auto") -> str:
    """The layout of an array (N, ...): ``vector``, ``sequence``, ``image`` (H, W), ``chw`` or ``hwc``.

    Raises:
        RequestError: more than one layout is possible, or none.

    Example:
        >>> infer_layout(np.zeros((5, 28, 28), np.uint8)), infer_layout(np.zeros((5, 8, 8, 3)))
        ('image', 'hwc')
    """
    choice("layout", layout, LAYOUTS)
    if x.ndim not in (2, 3, 4):
        raise _ambiguous(x, "", "Reshape to (N, D) vectors, (N, T, D) sequences or (N, C, H, W) images.")
    if layout != "auto" and x.ndim not in _NDIM[layout]:
        wanted = " or ".join(str(n) for n in _NDIM[layout])
        raise RequestError(
            f"``layout={layout!r}`` needs an array with {wanted} axes, but the data are {x.shape}."
        )
    if x.ndim == 2:
        return "vector"
    if x.ndim == 4:
        return layout if layout in ("chw", "hwc") else _channels(x)
    if layout != "auto":
        return layout
    if x.dtype in (np.uint8, np.bool_):
        return "image"
    if x.shape[1] != x.shape[2] or x.shape[1] < 8:
        return "sequence"
    sample = np.asarray(x[: 1 << 10])
    if sample.min() >= 0 and sample.max() <= 1:
        return "image"
    raise _ambiguous(x, "sequences or images", "Give ``layout='sequence'`` or ``layout='image'``.")


def _channels(x: np.ndarray) -> str:
    first, middle, last = x.shape[1:]
    if (first <= 4) != (last <= 4):
        return "chw" if first <= 4 else "hwc"
    if first > 4 and first < min(middle, last):
        return "chw"
    if last > 4 and last < min(first, middle):
        return "hwc"
    raise _ambiguous(x, "channels first or channels last", "Give ``layout='chw'`` or ``layout='hwc'``.")


def model_shape(stored: Sequence[int], layout: str) -> tuple[int, ...]:
    """The shape of one example as input to a model, from its stored shape (without N).

    Example:
        >>> model_shape((32, 32, 3), "hwc")
        (3, 32, 32)
    """
    stored = tuple(int(n) for n in stored)
    if layout == "image":
        return (1, *stored)
    return (stored[-1], *stored[:-1]) if layout == "hwc" else stored


def _ambiguous(x: np.ndarray, layouts: str, fix: str) -> RequestError:
    found = f"The data have the shape {tuple(x.shape)} and type {x.dtype}"
    if layouts:
        return RequestError(f"{found}, which may be {layouts}. {fix}")
    return RequestError(f"{found}; expected 2 to 4 axes, the first one the examples. {fix}")
