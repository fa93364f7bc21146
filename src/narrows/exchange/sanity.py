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

_ROWS = 512
_TIMES = {"data": 1.5, "noise": 10.0}
"""L0 may differ from the promise by this factor."""

_WORSE = 0.05
"""FVU may exceed the promise by this, and by half of it."""

_USELESS = 0.9
"""An FVU above this is a misfit without a promise too: the mean of the data alone has 1."""

_GAIN = math.log(1 / 0.9)
"""Another reading is named if its distance is below the configuration's by this much: a tenth less error, say.

Of dictionaries that are read rightly, no other reading gains more than 0.011: ``python -m benchmarks.readings``."""


@dataclass(frozen=True)
class Measured:
    """L0 and FVU of a description on some activations.

    Args:
        l0: mean number of active latents.
        fvu: fraction of variance unexplained; NaN on noise, where it has no meaning.
    """

    l0: float
    fvu: float

    def distance(self, promises: dict[str, float], own: Measured | None = None) -> float:
        r"""How much worse it is than what was promised.

        .. math:: \log \frac{\max(\text{FVU}, \text{FVU}^*)}{\text{FVU}^*} + |\log (L_0 / L_0^*)|

        An FVU that is not promised is compared with 1. Without a promise of L0, more latents than those of `own` cost
        as much as the error that they save, unless its error is useless.

        Args:
            promises: what the configuration says.
            own: the reading of the configuration.
        """
        far = 0.0
        if not math.isnan(self.fvu):
            least = promises.get("fvu", 1e-4)
            far = math.log(max(self.fvu, least) / promises.get("fvu", 1.0))
        wanted, found = promises.get("l0", 0.0), max(self.l0, 0.1)
        if wanted > 0:
            return far + abs(math.log(found / wanted))
        if own is None or own.fvu > _USELESS:
            return far
        return far + max(0.0, math.log(found / max(own.l0, 0.1)))

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

    Where there are activations, other readings are also tried without a misfit, unless none could do better: a bias
    that is subtracted wrongly may leave an FVU that looks usable, and the shape of a square matrix says nothing.

    Args:
        description: of the dictionary.
        x: activations of its place, (B, D), of which the first 512 are used. None: noise of the mean norm
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
    least = 0.0 if {"fvu", "l0"} <= promises.keys() else -math.inf
    if misfit or (not noise and own.distance(promises, own) - _GAIN > least):
        reading, better = _best(known, x, target, own, promises, noise)
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


def _readings(description: Description) -> Iterator[tuple[str, Description]]:
    """The readings that differ."""
    for name, (_, change) in READINGS.items():
        changed = change(description)
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
) -> tuple[str, Measured | None]:
    """The best reading of one change, or of two; none if none does clearly better."""
    best, found, at = "", own, known
    for _ in range(2):
        tried = [(name, measure(changed, x, target, noise=noise), changed) for name, changed in _readings(at)]
        far = [made.distance(promises, own) for _, made, _ in tried]
        if not far or min(far) > found.distance(promises, own) - _GAIN:
            break
        name, found, at = tried[far.index(min(far))]
        best = f"{best}+{name}" if best else name
    return best, found if best else None


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
