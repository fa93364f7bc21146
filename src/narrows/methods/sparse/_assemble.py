"""What the builders of sparse autoencoders share: sizes, prices, dead latents, and the model around a bottleneck."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.core import Autoencoder, Objective, Spec, as_spec
from narrows.core.check import RequestError, refuse
from narrows.core.schedules import Schedule
from narrows.likelihoods import Squared
from narrows.nets.dictionaries.dictionary import AffineEncoder, Dictionary
from narrows.objectives import DEAD, TARGETS
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.target import Target, TargetL0

__all__ = [
    "assemble",
    "dead_latents",
    "default_latents",
    "price",
    "priced",
    "sized",
    "sparse_autoencoder",
    "unpriced",
    "without_target",
]

_USUAL_L0 = 16


def without_target(spec: Spec | tuple[int, ...], method: str) -> Spec:
    """The spec of data that have no target of their own.

    Raises:
        RequestError: they have one.

    Example:
        >>> without_target((8,), "mp-sae").shape
        (8,)
    """
    spec = as_spec(spec)
    if spec.target is not None:
        raise RequestError(
            f"`{method}` gives back what it sees, but these data have a target of their own. Fit `transcoder` (of "
            "several layers, `cross-layer-transcoder`) to produce the target, or open the data without it."
        )
    return spec


def sized(spec: Spec | tuple[int, ...], method: str, latents: int) -> tuple[Spec, int]:
    """The spec of data without a target, and how many latents: those asked for, or as many as suit."""
    spec = without_target(spec, method)
    return spec, default_latents(latents, spec.size)


def default_latents(latents: int, numbers: int) -> int:
    """How many latents: those asked for, or eight for each of so many numbers, at most 16384."""
    return latents or min(8 * numbers, 16_384)


def dead_latents(
    dead: str | DeadLatents,
    latents: int,
    budget: float,
    numbers: int,
    *,
    auto: str = "auxk",
    gaps: int = 0,
    **suited: float,
) -> DeadLatents | None:
    """What is done for dead latents, with defaults that suit the sizes.

    Args:
        dead: a text of `DEAD`, or the part itself.
        latents: how many there are, N.
        budget: how many shall be on in an example, or nearly.
        numbers: how many an example (a layer of it) has; half as many dead latents predict the residual.
        auto: what ``auto`` is for this method.
        gaps: a latent is dead after so many of the mean gap between two firings of a latent in fair use, N / budget;
            the part's own when 0.
        suited: what else suits the method, where a part has such an option and nothing is said.

    Raises:
        RequestError: an unknown part or option, a number out of range.
    """
    if not isinstance(dead, str):
        return DEAD.checked(dead)
    spelled = DEAD.read(auto if dead == "auto" else dead)
    if spelled.name == "none":
        return None
    gap = -(-latents // max(budget, 1e-3))
    kind = cast("type[DeadLatents]", DEAD.constructor(spelled.name))
    after = int((gaps or kind.gaps) * gap)
    sizes = {"latents": latents, "budget": budget, "k": max(1, numbers // 2)}
    made = spelled.make(**sizes, dead_after=after, window=after, **suited)
    return None if made.weight == 0 else made


def price(cost: str, weight: Schedule, target: str | Target, rows: int = 1) -> dict[str, Any]:
    """The arguments of an objective around one price: its weight, or what steers it.

    Args:
        cost: the code's cost that is weighed.
        weight: of it, where nothing steers it.
        target: a text of `TARGETS`, or the part itself.
        rows: how many rows with latents of their own an example has; a target for L0 is for one.
    """
    if TARGETS.word(target):
        return {"weights": {cost: weight}}
    return {"target": TARGETS.make(target, cost=cost, rows=rows)}


def unpriced(target: str | Target) -> dict[str, Any]:
    """No arguments of an objective, for a code whose size is set: there is no price to steer.

    Raises:
        RequestError: a target was asked for.
    """
    if not TARGETS.word(target):
        raise refuse(
            "price_target", target, "`none` where k is set, for there is no price to steer", "Set ``k``."
        )
    return {}


def priced(
    spec: Spec, latents: int, cost: str, weight: Schedule, target: str | Target, dead: str | DeadLatents
) -> dict[str, Any]:
    """The arguments of a `SparseObjective` around one price: what weighs it, and what is done for dead latents."""
    terms = price(cost, weight, target)
    steered = terms.get("target")
    budget = steered.l0 if isinstance(steered, TargetL0) else _USUAL_L0
    return {**terms, "dead": dead_latents(dead, latents, budget, spec.size, auto="none")}


def assemble(
    spec: Spec,
    encoder: nn.Module,
    bottleneck: SparseBottleneck,
    dictionary: nn.Module,
    objective: Objective,
    *,
    conditions: tuple[str, ...] = (),
) -> Autoencoder:
    """The model, with the squared error."""
    return Autoencoder(
        encoder, bottleneck, dictionary, Squared(spec.output_shape), objective, conditions=conditions
    )


def sparse_autoencoder(
    spec: Spec,
    bottleneck: SparseBottleneck,
    objective: Objective,
    *,
    unit_norm: bool,
    normalise: bool,
    tied: bool = False,
    row: tuple[int, ...] = (),
    conditions: tuple[str, ...] = (),
) -> Autoencoder:
    """A linear encoder and a dictionary, tied at first and with a common centre, around any sparse bottleneck.

    Args:
        spec: what the data look like.
        bottleneck: which latents pass.
        objective: what is minimised.
        unit_norm: hold every atom at length 1.
        normalise: scale the data to mean square 1 inside the model.
        tied: the encoder's rows are the atoms for good.
        row: shape of what one code decodes to, where an example is several; the example's when empty.
        conditions: what both sides are told.
    """
    shape = row or spec.shape
    dictionary = Dictionary(bottleneck.width, shape, unit_norm=unit_norm, normalise=normalise)
    bottleneck.bind(dictionary)
    encoder = AffineEncoder(bottleneck.width, shape, centre=dictionary, normalise=normalise, tied=tied)
    return assemble(spec, encoder, bottleneck, dictionary, objective, conditions=conditions)
