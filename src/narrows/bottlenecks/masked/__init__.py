"""Codes of what is visible, that answer for what is hidden.

`HIDING` is the table of the argument ``hide="rectangles:low=0.3"``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from narrows.core.spelling import Table

if TYPE_CHECKING:
    from narrows.bottlenecks.masked.hiding import Hiding

__all__ = ["HIDING"]

HIDING: Table[Hiding] = Table(
    "hide",
    "narrows.bottlenecks.masked.hiding:Hiding",
    {
        "cells": "narrows.bottlenecks.masked.hiding:Cells",
        "rectangles": "narrows.bottlenecks.masked.hiding:Rectangles",
        "patterns": "narrows.bottlenecks.masked.hiding:Patterns",
    },
    words={"auto": "rectangles of images, cells of tables"},
)
"""What is hidden in training, that a text can name."""
