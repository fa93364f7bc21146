"""What is minimised: distortions, weighted costs, adversaries, and what steers or mends them.

`DEAD` and `TARGETS` are what ``dead="auxk:k=8"`` and ``price_target="l0=16"`` may say; importing them loads no
objective.
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
"""What is done for latents that are never on."""

TARGETS: Table[Target] = Table(
    "price_target",
    "narrows.objectives.target:Target",
    {"l0": "narrows.objectives.target:TargetL0", "fvu": "narrows.objectives.target:TargetFVU"},
    words={"none": "the weight stays as it is"},
    supplied=("cost", "rows"),
)
"""What the weight of a price is steered by."""
