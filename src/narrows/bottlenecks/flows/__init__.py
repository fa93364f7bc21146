"""Posteriors made by normalising flows, whose parameters the encoder puts out.

`FLOWS` is the table of ``flow="planar:length=10"``; importing it loads no flow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from narrows.core.spelling import Table

if TYPE_CHECKING:
    from narrows.bottlenecks.flows.posterior import Amortised

__all__ = ["FLOWS"]

FLOWS: Table[Amortised] = Table(
    "flow",
    "narrows.bottlenecks.flows.posterior:Amortised",
    {
        "planar": "narrows.bottlenecks.flows.planar:Planar",
        "radial": "narrows.bottlenecks.flows.planar:Radial",
        "iaf": "narrows.bottlenecks.flows.masked:IAF",
        "maf": "narrows.bottlenecks.flows.masked:MAF",
        "nsf": "narrows.bottlenecks.flows.masked:NSF",
    },
    supplied=("latent",),
    shared={
        "length": "number of maps.",
        "transforms": "number of autoregressive maps, which take the latents in opposite orders in turn.",
        "width": "width of the two hidden layers of each map.",
        "context": "number of the encoder's outputs that each map reads.",
    },
)
"""The flows of a posterior, by name."""
