"""Scaling: from stored numbers to the input of a model, fitted once on the training set and saved with the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from narrows.core.check import RequestError, choice, refuse
from narrows.data.ranks import Knots, fit_knots, read_knots, through

__all__ = [
    "KINDS",
    "Scaling",
    "Values",
    "are_counts",
    "check_counts",
    "exact",
    "fit_columns",
    "fit_scaling",
    "values_of",
]

Values: TypeAlias = Literal["binary", "unit", "real", "counts"]
KINDS = ("auto", "none", "unit", "standard", "rank", "counts")
_FULL = {torch.uint8: 255.0, torch.uint16: 65535.0}
_FAR = 1e3
"""If the shift exceeds the scale by this factor, numbers are scaled in float64."""


@dataclass(frozen=True)
class Scaling:
    """x -> (x - shift) / scale, as float32.

    Numbers far from zero, such as times in seconds since 1970, would lose precision in float32: they are scaled
    in float64 (see `far`), and `invert` returns them in float64.

    Args:
        kind: ``none``, ``unit`` (from 0 to 1), ``standard`` (mean 0, variance 1 on the training set), ``rank`` (each
            column by its ranks to a standard normal) or ``counts`` (whole numbers from 0, as they are).
        shift: one number, or one per column (vectors, sequences) or channel (images).
        scale: the same; never zero.
        axis: the axis of an example that `shift` and `scale` apply to when they are lists: the ``first``
            (channels) or the ``last`` (columns).
        knots: for ``rank``, the map of each column (`narrows.data.ranks`).

    Example:
        >>> scaling = Scaling("standard", (1.0, 0.0), (2.0, 1.0))
        >>> scaling.apply(torch.tensor([[3.0, 5.0]]))
        tensor([[1., 5.]])
        >>> scaling.invert(torch.tensor([[1.0, 5.0]]))
        tensor([[3., 5.]])
    """

    kind: str = "none"
    shift: float | tuple[float, ...] = 0.0
    scale: float | tuple[float, ...] = 1.0
    axis: Literal["first", "last"] = "last"
    knots: Knots = ()
    _seen: dict[tuple[torch.device, int, torch.dtype], tuple[Tensor, Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def far(self) -> bool:
        """Whether a shift is so large relative to its scale that float32 would lose precision."""
        shift, scale = (np.atleast_1d(np.asarray(v, np.float64)) for v in (self.shift, self.scale))
        return bool((np.abs(shift) > _FAR * np.abs(scale)).any())

    def apply(self, x: Tensor) -> Tensor:
        """Scale stored examples (B, ...), to a new float32 tensor unless the scaling is the identity."""
        if self.knots:
            return through(x, self.knots).to(torch.float32)
        if self.far:
            shift, scale = self._tensors(x, torch.float64)
            return (x.to(torch.float64) - shift).div_(scale).to(torch.float32)
        x = x.to(torch.float32) if x.dtype == torch.float64 else x
        if isinstance(self.scale, tuple) or isinstance(self.shift, tuple):
            shift, scale = self._tensors(x)
            return (x - shift).div_(scale)
        if self.shift == 0.0:
            y = x.to(torch.float32)
            if self.scale == 1.0:
                return y
            y = y.clone() if y is x else y  # never in place on the store itself
            return y.mul_(self._inverse) if self._inverse else y.div_(self.scale)
        return (x.to(torch.float32) - self.shift).div_(self.scale)

    @cached_property
    def _inverse(self) -> float:
        """1 / scale, if a product is as exact as a quotient at the maximum (and twice as fast), else 0."""
        assert isinstance(self.scale, float)
        return 1 / self.scale if np.float32(self.scale) * np.float32(1 / self.scale) == 1 else 0.0

    def invert(self, x: Tensor) -> Tensor:
        """From the inputs or outputs of the model back to the units of the data."""
        if self.knots:
            return through(x, self.knots, back=True).to(x.dtype)
        if self.far:
            shift, scale = self._tensors(x, torch.float64)
            return x.to(torch.float64) * scale + shift
        if isinstance(self.scale, tuple) or isinstance(self.shift, tuple):
            shift, scale = self._tensors(x)
            return x * scale + shift
        return x * self.scale + self.shift

    def describe(self) -> dict[str, Any]:
        """A JSON-serialisable form; `Scaling.of` restores it exactly."""
        form: dict[str, Any] = {
            "kind": self.kind,
            "shift": self.shift,
            "scale": self.scale,
            "axis": self.axis,
        }
        found = {key: list(value) if isinstance(value, tuple) else value for key, value in form.items()}
        return found | (
            {"knots": [[list(side) for side in pair] for pair in self.knots]} if self.knots else {}
        )

    @classmethod
    def of(cls, form: Scaling | Mapping[str, Any]) -> Scaling:
        """Restore a scaling from the output of `describe`."""
        if isinstance(form, Scaling):
            return form
        try:
            shift, scale = (
                tuple(v) if isinstance(v, list) else float(v) for v in (form["shift"], form["scale"])
            )
            return cls(
                str(form["kind"]), shift, scale, form.get("axis", "last"), read_knots(form.get("knots", ()))
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RequestError(
                f"`scaling` must be from `Source.describe()`, but got {form!r}. Leave it out to fit one."
            ) from error

    def _tensors(self, x: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        key = (x.device, x.ndim, dtype)
        if key not in self._seen:
            trailing = x.ndim - 2 if self.axis == "first" else 0
            pair = (torch.tensor(v, dtype=dtype, device=x.device) for v in (self.shift, self.scale))
            shift, scale = (v.reshape(*v.shape, *[1] * trailing) if v.ndim else v for v in pair)
            self._seen[key] = (shift, scale)
        return self._seen[key]


def fit_scaling(x: Tensor, kind: str, full: float | None = None) -> Scaling:
    """Select and fit the scaling on the training set (or a large sample of it).

    With ``auto``, bytes are divided by 255 (or by `full`, the known maximum); numbers between 0 and 1 are not
    scaled; others are standardised.

    Args:
        x: examples as stored, (N, *shape).
        kind: ``auto``, ``none``, ``unit``, ``standard``, ``rank`` (of vectors) or ``counts``.
        full: the largest value of the format, if it is known.

    Example:
        >>> fit_scaling(torch.tensor([[0, 128, 255]], dtype=torch.uint8), "auto").scale
        255.0
    """
    choice("scale", kind, KINDS)
    top = full if full is not None else _FULL.get(x.dtype)
    low, high = (float(v) for v in torch.aminmax(x)) if x.numel() else (0.0, 0.0)
    if kind in ("none", "counts"):
        return Scaling(kind)
    if kind == "rank":
        if x.ndim != 2:
            raise refuse("scale", kind, "auto, none, unit or standard, except for vectors")
        none = (0.0,) * x.shape[1], (1.0,) * x.shape[1]
        return Scaling(kind, *none, knots=fit_knots(x.numpy()))
    if low >= 0 and high <= 1 and kind in ("auto", "unit"):
        return Scaling("unit")
    if kind == "auto":
        kind = "standard" if top is None else "unit"
    if kind == "unit" and top is not None:
        return Scaling("unit", 0.0, top)
    return _fit_axis(x, kind)


def fit_columns(x: np.ndarray, numbers: Sequence[bool], kind: str) -> Scaling:
    """The scaling of numeric columns of a table, fitted on cells that are not NaN; others are not scaled.

    Args:
        x: cells (N, D).
        numbers: which columns are numeric.
        kind: as in `fit_scaling`; ``auto`` is ``standard``.

    Example:
        >>> fit_columns(np.array([[1.0, 2.0], [np.nan, 0.0], [5.0, 1.0]]), [True, False], "auto").scale
        (2.0, 1.0)
    """
    kind = "standard" if choice("scale", kind, KINDS) == "auto" else kind
    if kind in ("counts", "rank"):
        raise refuse("scale", kind, "auto, none, unit or standard for a mixed table")
    if kind == "none":
        return Scaling("none")
    shift, scale = [0.0] * len(numbers), [1.0] * len(numbers)
    for place in np.flatnonzero(numbers):
        cells = x[~np.isnan(x[:, place]), place]
        if len(cells):
            one = _fit_axis(torch.from_numpy(cells[:, None].astype(np.float64)), kind)
            shift[place], scale[place] = one.shift[0], one.scale[0]  # type: ignore[index]
    return Scaling(kind, tuple(shift), tuple(scale))


def _fit_axis(x: Tensor, kind: str) -> Scaling:
    """Shift and scale of each column, or each channel of an image; constant ones are only shifted."""
    image = x.ndim == 4
    axis: Literal["first", "last"] = "first" if image else "last"
    rows = (x.movedim(1, -1) if image else x).reshape(-1, x.shape[1] if image else x.shape[-1])
    if kind == "standard":
        first = rows[0].to(torch.float64)
        shift = first + _mean(rows, lambda part: part - first)  # sums of small numbers are precise
        scale = _mean(rows, lambda part: (part - shift).square_()).sqrt()
    else:
        low, high = (v.to(torch.float64) for v in torch.aminmax(rows, dim=0))
        shift, scale = low, high - low
    constant = scale <= 1e-12 + 1e-14 * shift.abs()
    scale = torch.where(constant, torch.ones_like(scale), scale)
    for numbers in (_short, Tensor.tolist):  # rounded, if that is precise enough
        shifts, scales = numbers(shift), numbers(scale)
        if image and len(shift) == 1:
            scaling = Scaling(kind, shifts[0], scales[0])
        else:
            scaling = Scaling(kind, tuple(shifts), tuple(scales), axis)
        if not scaling.far:
            break
    return scaling


def _mean(rows: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean of a function of rows, (N, D) -> (D,), in float64, computed in chunks to save memory."""
    parts = [f(part.to(torch.float64)).sum(0) for part in rows.split(1 << 14)]
    return torch.stack(parts).sum(0) / len(rows)


def _short(values: Tensor) -> list[float]:
    """Numbers rounded to float32, the precision of a model, so that the JSON form is exact and short."""
    return [float(v) for v in values.to(torch.float32).numpy().astype(np.float64)]


def exact(x: np.ndarray) -> Tensor:
    """An array as a tensor without rounding: bytes, float32, or float64 for numbers that float32 would round.

    Example:
        >>> exact(np.array([1 << 25])).dtype, exact(np.array([True])).dtype
        (torch.float64, torch.uint8)
    """
    if x.dtype in (np.uint8, np.bool_):
        dtype: type[np.generic] = np.uint8
    else:
        dtype = np.float32 if np.can_cast(x.dtype, np.float32) else np.float64
    array = np.ascontiguousarray(x, dtype=dtype)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def are_counts(x: Tensor) -> bool:
    """Whether numbers are whole, from 0; missing values are NaN.

    Example:
        >>> are_counts(torch.tensor([3.0, torch.nan])), are_counts(torch.tensor([0.5]))
        (True, False)
    """
    return not bool(((x < 0) | ((x % 1 != 0) & ~x.isnan())).any())


def check_counts(x: Tensor, rows: bool = False) -> None:
    """Check examples that are said to be counts.

    Args:
        x: the examples.
        rows: whether the first axis is that of the rows, to name the first that is wrong.

    Raises:
        RequestError: they are not whole numbers from 0.
    """
    if not are_counts(x):
        at = ((x < 0) | ((x % 1 != 0) & ~x.isnan())).nonzero()[0].tolist()
        column = f", column {', '.join(map(str, at[1:]))}" if len(at) > 1 else ""
        raise RequestError(
            f"Counts are whole numbers from 0, and these data have {float(x[tuple(at)]):g}"
            f"{f' in row {at[0]}{column}' if rows else ''}. Give the counts before any normalisation, or fit without "
            "``scale``."
        )


def values_of(x: Tensor, scaling: Scaling) -> Values:
    """Whether scaled examples are ``binary``, ``unit``, ``real``, or if the scaling says so ``counts``.

    Example:
        >>> values_of(torch.tensor([[0.0, 1.0]]), Scaling())
        'binary'
    """
    if scaling.kind == "counts":
        return "counts"
    if not x.numel():
        return "real"
    flat = (
        x
        if isinstance(scaling.scale, tuple)
        else torch.stack(torch.aminmax(x)).reshape(2, *[1] * (x.ndim - 1))
    )
    low, high = torch.aminmax(scaling.apply(flat))
    if low < 0 or high > 1:
        return "real"
    for part in (x[:64], x):  # a few examples are usually enough to see that data are not binary
        seen = scaling.apply(part)
        if not bool(((seen == 0) | (seen == 1)).all()):
            return "unit"
    return "binary"
