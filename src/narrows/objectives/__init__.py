"""Objectives: distortions, weighted costs, adversaries, and the control of sparsity and of dead latents.

`DEAD`, `TARGETS` and `PENALTIES` are the tables of ``dead="auxk:k=8"``, ``price_target="l0=16"`` and
``penalty="vne"``; importing them loads no objective.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from narrows.core.spelling import Table

if TYPE_CHECKING:
    from narrows.core import Autoencoder, Penalty
    from narrows.objectives.dead_latents import DeadLatents
    from narrows.objectives.target import Target

__all__ = ["DEAD", "PENALTIES", "TARGETS", "with_penalty"]

DEAD: Table[DeadLatents] = Table(
    "dead",
    "narrows.objectives.dead_latents:DeadLatents",
    {
        "auxk": "narrows.objectives.dead_latents:AuxK",
        "resample": "narrows.objectives.dead_latents:Resample",
        "ghost": "narrows.objectives.dead_latents:Ghost",
        "preact": "narrows.objectives.dead_latents:PreAct",
        "zipf": "narrows.objectives.zipf:AuxZipf",
    },
    words={"none": "nothing", "auto": "what suits the activation"},
    supplied=("latents", "budget"),
    suited=("k", "dead_after", "window", "exponent", "offset"),
)
"""The ways to revive dead latents, by name."""

TARGETS: Table[Target] = Table(
    "price_target",
    "narrows.objectives.target:Target",
    {"l0": "narrows.objectives.target:TargetL0", "fvu": "narrows.objectives.target:TargetFVU"},
    words={"none": "the weight is not adapted"},
    supplied=("cost", "rows"),
)
"""The targets that the weight of a penalty is adapted to, by name."""

PENALTIES: Table[Penalty] = Table(
    "penalty",
    "narrows.core.objective:Penalty",
    {
        "vne": "narrows.objectives.entropy:CodeEntropy",
        "cs-ib": "narrows.objectives.cauchy_schwarz:CauchySchwarz",
        "trim": "narrows.objectives.trimmed:Trimmed",
        "beta-divergence": "narrows.objectives.beta_divergence:BetaDivergence",
    },
    words={"none": "no further terms"},
)
"""Terms that can be added to an objective, by name. ``trim`` is a mean without the largest losses, and
``beta-divergence`` a distortion in which they count little."""


def with_penalty(model: Autoencoder, penalty: str | Penalty) -> Autoencoder:
    """The model, with a penalty of `PENALTIES` added to its objective.

    Args:
        model: the model, which is changed.
        penalty: the penalty, or its text such as ``vne:alpha=0.1``.
    """
    if PENALTIES.word(penalty) != "none":
        made = PENALTIES.make(penalty)
        made.check(model)
        model.objective.add(made)
    return model
