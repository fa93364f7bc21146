"""Whether a dictionary reads as its configuration promises, and which other reading does better."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from narrows.core import Batch, seeded
from narrows.core.check import RequestError
from narrows.exchange.description import Description
from narrows.exchange.model import build
from narrows.exchange.readings import READINGS
from narrows.kernels.metrics import l0

__all__ = ["Measured", "Sanity", "measure", "sanity"]

_ROWS = 1024
_TIMES = {"data": 1.5, "noise": 10.0}
"""L0 may differ from the promise by this factor."""

_WORSE = 0.05
"""FVU may exceed the promise by this, and by half of it."""

_USELESS = 0.9
"""An FVU above this is a misfit without a promise too: the mean of the data alone has 1."""

_GAIN = 0.8
"""Another reading is named if its distance from the promise is below this share of the configuration's."""


@dataclass(frozen=True)
class Measured:
    """L0 and FVU of a description on some activations.

    Args:
        l0: mean number of active latents.
        fvu: fraction of variance unexplained; NaN on noise, where it has no meaning.
    """

    l0: float
    fvu: float

    def distance(self, promises: dict[str, float]) -> float:
        """How far it is from what was promised, 0 or more: the FVU, and the logarithm of L0's ratio."""
        far = 0.0 if math.isnan(self.fvu) else max(0.0, self.fvu - promises.get("fvu", 0.0))
        wanted = promises.get("l0", 0.0)
        return min(far, 10.0) + (abs(math.log(max(self.l0, 0.1) / wanted)) if wanted > 0 else 0.0)

    def fits(self, promises: dict[str, float], on: str) -> bool:
        """Whether it is what was promised."""
        wanted, times = promises.get("l0", 0.0), _TIMES[on]
        if wanted > 0 and not wanted / times <= max(self.l0, 1e-9) <= wanted * times:
            return False
        return math.isnan(self.fvu) or self.fvu <= (
            1.5 * promises["fvu"] + _WORSE if "fvu" in promises else _USELESS
        )


@dataclass(frozen=True)
class Sanity:
    """A check of a description.

    Args:
        measured: L0 and FVU as the configuration reads.
        promises: what the configuration says of them.
        on: ``data``, or ``noise`` of the norm that the configuration states.
        reading: the reading that does clearly better, for ``reading``; empty if none does.
        better: L0 and FVU of that reading.
        misfit: whether the configuration's own reading is not what it promises.
        says: all this in sentences.
    """

    measured: Measured
    promises: dict[str, float]
    on: str
    reading: str
    better: Measured | None
    misfit: bool
    says: str


@torch.no_grad()
def measure(
    description: Description, x: Tensor, target: Tensor | None = None, *, noise: bool = False
) -> Measured:
    """L0 and FVU on activations.

    Args:
        description: of the dictionary.
        x: its inputs, (B, D).
        target: what a transcoder predicts, (B, D'); else the inputs.
        noise: the inputs are noise, on which FVU has no meaning.
    """
    model = build(description)
    batch = Batch(x) if description.kind == "sae" or target is None else Batch(x, target)
    passed = model(batch)
    z = passed.code.z[0] if isinstance(passed.code.z, tuple) else passed.code.z
    if noise or (description.kind != "sae" and target is None):
        return Measured(float(l0(z)), math.nan)
    wanted = batch.target.flatten(1)
    error = (model.likelihood.mean(passed.output).flatten(1) - wanted).square().sum()
    return Measured(float(l0(z)), float(error / (wanted - wanted.mean(0)).square().sum().clamp_min(1e-30)))


def sanity(
    description: Description, x: Tensor | None = None, target: Tensor | None = None, *, seed: int = 0
) -> Sanity | None:
    """Compare L0 and FVU with the configuration's promises, and try other readings on a misfit.

    Square matrices are always tried transposed where there are activations, since their shape says nothing.

    Args:
        description: of the dictionary.
        x: activations of its place, (B, D), of which the first thousand are used. None: noise of the mean norm
            that the configuration states, on which only a gross misfit of L0 shows.
        target: what a transcoder predicts, (B, D').
        seed: of the noise.

    Returns:
        The check; None without activations, if the configuration states no norm or promises no L0.

    Raises:
        RequestError: the activations have another width than the dictionary.
    """
    promises = {name: value for name, value in description.promises.items() if value > 0}
    on = "noise" if x is None else "data"
    if x is None:
        if "norm" not in description.metadata or "l0" not in promises or description.kind == "cross-layer":
            return None
        with seeded(seed):
            x = torch.randn(_ROWS, description.width)
        x *= float(description.metadata["norm"]) / description.width**0.5
    x = x[:_ROWS].flatten(1).float()
    if x.shape[1] != description.width:
        raise RequestError(
            f"The activations have width {x.shape[1]}, and this {description.title} reads width {description.width}: "
            "they are of another model or place."
        )
    target = None if target is None else target[:_ROWS].flatten(1).float()
    noise = on == "noise"
    own = measure(description, x, target, noise=noise)
    misfit = not own.fits(promises, on)
    known = _with_norm(description, x)
    reading, better = "", None
    if misfit or (not noise and _square(description)):
        reading, better = _best(known, x, target, own, promises, noise, misfit)
    says = _says(own, promises, on, reading, better, misfit, description)
    return Sanity(own, promises, on, reading, better, misfit, says)


def _with_norm(description: Description, x: Tensor) -> Description:
    """The description with the mean norm of the data, where the configuration states none."""
    if "norm" in description.metadata:
        return description
    norm = round(float(torch.linalg.vector_norm(x, dim=1).mean()), 4)
    return replace(description, metadata={**description.metadata, "norm": norm})


def _square(description: Description) -> bool:
    shapes = [t.shape for name, t in description.tensors.items() if name in ("encoder", "decoder", "skip")]
    return any(len(shape) == 2 and shape[0] == shape[1] for shape in shapes)


def _readings(description: Description, every: bool) -> Iterator[tuple[str, Description]]:
    """The readings that differ; without `every` those of square matrices only."""
    for name, (_, change) in READINGS.items():
        changed = change(description) if every or name.startswith("transposed") else None
        if changed is not None:
            stated = "norm" in description.metadata and name.startswith(("scaled", "threshold"))
            yield f"{name}={description.metadata['norm']:g}" if stated else name, changed


def _best(
    known: Description,
    x: Tensor,
    target: Tensor | None,
    own: Measured,
    promises: dict[str, float],
    noise: bool,
    every: bool,
) -> tuple[str, Measured | None]:
    """The best reading of one change, or of two; none if none does clearly better."""
    best, least, found, at = "", own.distance(promises), None, known
    for _ in range(2 if every else 1):
        start, base = best, at
        for name, changed in _readings(base, every):
            made = measure(changed, x, target, noise=noise)
            if made.distance(promises) < _GAIN * least - 1e-3:
                best, least, found, at = (
                    f"{start}+{name}" if start else name,
                    made.distance(promises),
                    made,
                    changed,
                )
        if best == start:
            break
    return best, found


def _says(
    own: Measured,
    promises: dict[str, float],
    on: str,
    reading: str,
    better: Measured | None,
    misfit: bool,
    description: Description,
) -> str:
    """The check in sentences."""
    where = "on the activations" if on == "data" else "on noise of the stated norm"
    said = [
        f"Read as its configuration says, this {description.title} has {_figures(own)} {where}{_promised(promises)}."
    ]
    if better is not None:
        meaning = " and ".join(READINGS[name.partition("=")[0]][0] for name in reading.split("+"))
        instead = (
            [f"L0 {better.l0:,.3g} instead of {own.l0:,.4g}"]
            if promises.get("l0") or better.l0 != own.l0
            else []
        )
        if not math.isnan(better.fvu):
            instead.append(f"FVU {better.fvu:.3g} instead of {own.fvu:.3g}")
        said.append(
            f"It reads better with {meaning}: {', '.join(instead)}. Choose it by ``reading={reading!r}``."
        )
    elif misfit:
        said.append(
            "No other reading that was tried fits better: the activations may be of another model or place."
        )
    elif on == "data" and _square(description):
        said.append("Its square matrices read best as they are stored.")
    return " ".join(said)


def _figures(own: Measured) -> str:
    return f"L0 {own.l0:,.4g}" + ("" if math.isnan(own.fvu) else f" and FVU {own.fvu:.3g}")


def _promised(promises: dict[str, float]) -> str:
    named = [f"{name.upper()} {value:,.4g}" for name, value in promises.items()]
    return f"; it promises {' and '.join(named)}" if named else ""
