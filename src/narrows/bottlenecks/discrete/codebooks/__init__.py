"""Codebooks of a vector quantizer: where the code vectors come from, and how they are learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from narrows.core.spelling import Table

if TYPE_CHECKING:
    from narrows.bottlenecks.discrete.codebooks.base import Codebook

__all__ = ["CODEBOOKS"]

CODEBOOKS: Table[Codebook] = Table(
    "codebook",
    "narrows.bottlenecks.discrete.codebooks.base:Codebook",
    {
        "ema": "narrows.bottlenecks.discrete.learned:LearnedCodebook",
        "gradient": "narrows.bottlenecks.discrete.learned:GradientCodebook",
        "linear": "narrows.bottlenecks.discrete.codebooks.linear:LinearCodebook",
        "clustered": "narrows.bottlenecks.discrete.codebooks.clustered:ClusteredCodebook",
        "table": "narrows.bottlenecks.discrete.codebooks.table:TableCodebook",
    },
    supplied=("codes", "width"),
)
"""The codebooks that a text can name: how codes are learned, started and restarted."""
