"""Functions observed at points: arrays of values with a shared grid, or with points for each example.

==================  ==================================================================================================
``u``               values: (N, n) or (N, n, C) along a line, (N, n1, ..., nk) or (N, n1, ..., nk, C) on a grid,
                    (N, P) or (N, P, C) at scattered points; (total, C) if the numbers of points differ
``grid``            positions shared by all examples: (n,) along a line, (n1, ..., nk, k) or (P, k)
``points``          or positions of each example: (N, P), (N, P, k), or (total, k)
``ends``            (N,) end of each example in the rows of ``u`` and ``points``, if the numbers of points differ
==================  ==================================================================================================

NaN is a missing value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from narrows.core.check import RequestError, number, refuse
from narrows.data.domain import Domain
from narrows.data.raw import Raw
from narrows.data.shapes import infer_layout
from narrows.data.stores import Once, Ragged
from narrows.kernels.quadrature import trapezium

__all__ = ["Fields", "as_raw", "fields_of_images", "of_images", "read_fields"]


@dataclass(frozen=True)
class Fields:
    """Values at points, as arrays.

    Args:
        values: (N, P, C), or (total, C) if the numbers of points differ.
        positions: in the units of the data, (P, k) if shared by all examples, (N, P, k), or (total, k).
        domain: their bounding box, and the grid.
        quadrature: weights of shared points, (P,), or None for `Domain.quadrature`.
        ends: (N,) if the numbers of points differ.
    """

    values: np.ndarray
    positions: np.ndarray
    domain: Domain
    quadrature: np.ndarray | None = None
    ends: np.ndarray | None = None


def read_fields(arrays: Mapping[str, np.ndarray], name: str) -> Fields:
    """Read named arrays.

    Args:
        arrays: ``u``, and ``grid`` or ``points``, see the docstring of this module.
        name: name of the data, for messages.

    Raises:
        RequestError: arrays are missing or have inconsistent shapes.

    Example:
        >>> fields = read_fields({"u": np.zeros((5, 9)), "grid": np.linspace(0, 2, 9)}, "heat")
        >>> fields.values.shape, fields.domain
        ((5, 9, 1), Domain(low=(0.0,), high=(2.0,), grid=(9,), cells=False))
    """
    has = ", ".join(f"`{key}` {tuple(value.shape)}" for key, value in arrays.items())
    if "u" not in arrays or not {"grid", "points"} & set(arrays):
        missing = "`u`" if "u" not in arrays else "`grid` or `points`"
        raise RequestError(
            f"Fields are arrays `u` (values) and `grid` (positions shared by all examples) or `points` "
            f"(positions of each example); `{name}` has {has}, and {missing} is missing."
        )
    u = np.asarray(arrays["u"], np.float32)
    if "points" in arrays:
        return _scattered(u, _finite("points", arrays["points"]), arrays.get("ends"))
    return _shared(u, _finite("grid", arrays["grid"]))


def _finite(key: str, positions: np.ndarray) -> np.ndarray:
    positions = np.asarray(positions, np.float64)
    if not np.isfinite(positions).all():
        raise refuse(key, "NaN or infinite positions", "finite positions", "Missing values are NaN in `u`.")
    return positions


def _scattered(u: np.ndarray, points: np.ndarray, ends: np.ndarray | None) -> Fields:
    """Fields with points for each example: (N, P, k) with (N, P, C), or (total, k) with (total, C) and ends."""
    rows = 1 if ends is not None else 2
    points = points[..., None] if points.ndim == rows else points
    u = u[..., None] if u.ndim == rows else u
    if points.ndim != rows + 1 or u.ndim != rows + 1 or u.shape[:rows] != points.shape[:rows]:
        expected = "(total, k) with `u` (total, C)" if ends is not None else "(N, P, k) with `u` (N, P, C)"
        raise refuse("points", f"an array {points.shape} with `u` {u.shape}", expected)
    if ends is not None and (
        ends.ndim != 1 or not len(ends) or ends[-1] != len(u) or (np.diff(ends) < 0).any()
    ):
        raise refuse("ends", ends, f"ascending row numbers up to {len(u)}, the number of rows of `u`")
    return Fields(u, points, _box(points.reshape(-1, points.shape[-1])), ends=ends)


def _shared(u: np.ndarray, grid: np.ndarray) -> Fields:
    """Fields with the same points for all examples."""
    grid = grid[:, None] if grid.ndim == 1 else grid
    sides, k = grid.shape[:-1], grid.shape[-1]
    values = u[..., None] if u.shape[1:] == sides else u
    if values.shape[1:-1] != sides:
        raise refuse(
            "grid",
            f"an array {grid.shape} with `u` {u.shape}",
            "positions (..., k) of values (N, ...) or (N, ..., C)",
        )
    axes = _axes(grid) if len(sides) == k else None
    box = _box(grid.reshape(-1, k), () if axes is None else sides)
    weights = None if axes is None or k == 1 else _tensor_weights(axes)
    return Fields(values.reshape(len(u), -1, values.shape[-1]), grid.reshape(-1, k), box, weights)


def _axes(grid: np.ndarray) -> list[np.ndarray] | None:
    """The positions along each coordinate of a grid (n1, ..., nk, k), or None if it is not a grid."""
    k = grid.shape[-1]
    axes = [grid[(0,) * i + (slice(None),) + (0,) * (k - i - 1)][:, i] for i in range(k)]
    mesh = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    rising = all(len(a) > 1 and (np.diff(a) > 0).all() for a in axes)
    return axes if rising and np.allclose(mesh, grid, rtol=1e-5, atol=1e-8) else None


def _tensor_weights(axes: list[np.ndarray]) -> np.ndarray:
    """Product of the trapezium rules along each axis: (prod n,)."""
    weights = np.ones(1)
    for axis in axes:
        rule = trapezium(torch.from_numpy(axis), float(axis[0]), float(axis[-1])).numpy()
        weights = (weights[:, None] * rule).reshape(-1)
    return weights.astype(np.float32)


def _box(positions: np.ndarray, sides: tuple[int, ...] = ()) -> Domain:
    """The bounding box of positions (P, k)."""
    low, high = positions.min(0), positions.max(0)
    if (low >= high).any():
        raise refuse(
            "grid", f"positions that are all {low.tolist()}", "points that differ along each coordinate"
        )
    return Domain(tuple(low.tolist()), tuple(high.tolist()), sides)


def of_images(images: np.ndarray, layout: str) -> Fields:
    """Images as functions of row and column, with each pixel the centre of a cell of the unit square.

    Args:
        images: as stored, (N, H, W), (N, H, W, C) or (N, C, H, W).
        layout: ``image``, ``hwc`` or ``chw``.

    Example:
        >>> of_images(np.zeros((5, 4, 6), np.uint8), "image").positions[:2]
        array([[0.125     , 0.08333334],
               [0.125     , 0.25      ]], dtype=float32)
    """
    stacked = (
        images[..., None] if layout == "image" else np.moveaxis(images, 1, -1) if layout == "chw" else images
    )
    sides = (int(stacked.shape[1]), int(stacked.shape[2]))
    domain = Domain((0.0, 0.0), (1.0, 1.0), sides, cells=True)
    values = stacked.reshape(len(stacked), -1, stacked.shape[-1])
    return Fields(values, domain.points().numpy(), domain)


def as_raw(fields: Fields, **more: Any) -> Raw:
    """Fields as the output of a reader.

    Args:
        fields: values, positions, domain.
        more: further fields of `Raw`: labels, scale, truth ...
    """
    values = torch.from_numpy(np.ascontiguousarray(fields.values))
    positions = torch.from_numpy(fields.positions)
    stores: dict[str, Any] = dict(more.pop("stores", {}))
    if fields.ends is not None:
        ends = torch.from_numpy(fields.ends.astype(np.int64))
        x: Any = Ragged(values, ends)
        stores["positions"] = Ragged(positions, ends)
    else:
        x = fields.values
        stores["positions"] = positions if positions.dim() == 3 else Once(positions, len(x))
    if fields.quadrature is not None:
        stores["quadrature"] = Once(torch.from_numpy(fields.quadrature), len(x))
    holes = fields.values.dtype.kind == "f" and bool(np.isnan(fields.values).any())
    return Raw(x, stores=stores, kind="field", holes=holes, domain=fields.domain, **more)


def fields_of_images(raw: Raw, points: float = 1.0) -> Raw:
    """Images from a reader as functions of row and column.

    Args:
        raw: the images.
        points: the fraction of pixels observed in each image, at random.

    Raises:
        RequestError: the data are not images, or `points` is not a fraction.
    """
    share = number("points", points, low=1e-6, high=1)
    layout = infer_layout(raw.x, raw.layout)
    if layout not in ("image", "chw", "hwc"):
        raise RequestError(
            "This method needs fields: values at points. Give images, or an .npz file with `u` (values) and `grid` or "
            "`points` (positions)."
        )
    test = None if raw.test is None else _thinned(raw.test, layout, share, 1)
    return replace(_thinned(raw, layout, share, 0), test=test)


def _thinned(raw: Raw, layout: str, share: float, seed: int) -> Raw:
    """Images as fields, with a random fraction of the pixels of each."""
    fields = of_images(raw.x, layout)
    n, pixels = fields.values.shape[:2]
    stores: dict[str, Any] = {"positions": Once(torch.from_numpy(fields.positions), n)}
    count = max(1, round(share * pixels))
    if count < pixels:
        rng, mask = np.random.default_rng((seed, 9)), np.zeros((n, pixels), np.bool_)
        for row in mask:
            row[rng.permutation(pixels)[:count]] = True
        stores["mask"] = torch.from_numpy(mask)
    return replace(raw, x=fields.values, stores=stores, kind="field", layout="auto", domain=fields.domain)
