"""What the builders of sparse autoencoders share: the terms of the objective, by the options that all spell alike."""

from __future__ import annotations

from typing import Any

from narrows.core import Spec
from narrows.core.check import choice, refuse, whole
from narrows.core.schedules import Schedule
from narrows.objectives.dead_latents import AuxK, Ghost, PreAct, Resample, Revival
from narrows.objectives.target import Target

__all__ = ["DEAD", "priced_terms", "revival", "target"]

DEAD = ("auxk", "resample", "ghost", "preact", "none")
"""Ways to deal with dead latents; see `narrows.objectives.dead_latents`."""

_USUAL_L0 = 16


def revival(
    dead: str,
    spec: Spec,
    latents: int,
    l0: float,
    *,
    dead_after: int = 0,
    aux_k: int = 0,
    aux_weight: Schedule = 1 / 32,
) -> Revival | None:
    """What is done for dead latents, with defaults that suit the sizes.

    Args:
        dead: one of `DEAD`.
        spec: what the data look like.
        latents: how many there are, N.
        l0: how many shall be on, or nearly.
        dead_after: a latent is dead when it was off for more examples than this. When 0, a hundred times N / l0,
            the mean gap between two firings of a latent in fair use; for ``resample``, which is drastic, a thousand.
        aux_k: how many dead latents predict the residual, with ``auxk``; when 0, half the numbers of an example.
        aux_weight: weight of the term, with ``auxk``, ``ghost`` and ``preact``; 0 leaves it out.

    Raises:
        RequestError: an unknown way, a number out of range.
    """
    aux_k = whole("aux_k", aux_k, low=0) or max(1, spec.size // 2)
    gaps = 1000 if choice("dead", dead, DEAD) == "resample" else 100
    after = whole("dead_after", dead_after, low=0) or int(gaps * -(-latents // max(l0, 1e-3)))
    if dead == "none" or (aux_weight == 0 and dead != "resample"):
        return None
    if dead == "resample":
        return Resample(dead_after=after)
    if dead == "auxk":
        return AuxK(k=aux_k, dead_after=after, weight=aux_weight)
    return (Ghost if dead == "ghost" else PreAct)(after, aux_weight)


def target(cost: str, target_l0: float, target_fvu: float) -> Target | None:
    """The target that steers the weight of a cost; None where both are 0.

    Raises:
        RequestError: both are given, or one is out of range.
    """
    if target_l0 and target_fvu:
        raise refuse("target_fvu", target_fvu, "0 where ``target_l0`` is given", "Name one target.")
    if not target_l0 and not target_fvu:
        return None
    return Target(l0=target_l0 or None, fvu=target_fvu or None, cost=cost)


def priced_terms(
    spec: Spec,
    latents: int,
    cost: str,
    weight: Schedule,
    *,
    target_l0: float,
    target_fvu: float,
    dead: str,
    dead_after: int,
    aux_weight: Schedule,
) -> dict[str, Any]:
    """The arguments of a `SparseObjective` around one price: what steers its weight, and what revives the dead."""
    steered = target(cost, target_l0, target_fvu)
    return {
        "target": steered,
        "weights": {} if steered is not None else {cost: weight},
        "revival": revival(
            dead, spec, latents, target_l0 or _USUAL_L0, dead_after=dead_after, aux_weight=aux_weight
        ),
    }
