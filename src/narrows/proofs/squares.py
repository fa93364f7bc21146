"""Squares of known scale and position, on which several proofs measure how factors are encoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.proofs.engine import Trial

__all__ = ["SQUARES", "judged"]

SQUARES: Mapping[str, Any] = {
    "n": 3000,
    "tests": 1000,
    "size": 32,
    "shapes": 1,
    "rotations": 1,
    "positions": 16,
}
"""The options of `sprites`: squares of six scales at 16 x 16 positions."""


def judged(trial: Trial) -> tuple[Batch, Tensor]:
    """The first 1000 test examples and their factors, (N, F).

    Raises:
        RequestError: the data have no known factors.
    """
    factors = trial.data.test.factors
    if factors is None:
        raise RequestError(f"`{trial.data.name}` has no known factors, which this proof needs.")
    return trial.data.test.all(limit=1000), factors[:1000]
