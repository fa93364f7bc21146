"""Objectives: distortions, weighted costs, adversaries, and the control of sparsity and of dead latents.

`DEAD` and `TARGETS` are the tables of ``dead="auxk:k=8"`` and ``price_target="l0=16"``; importing them loads
no objective.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from narrows.core.spelling import Table

if TYPE_CHECKING:
    from narrows.objectives.dead_latents import DeadLatents
    from narrows.objectives.target import Target

__all__ = ["DEAD", "TARGETS"]

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
