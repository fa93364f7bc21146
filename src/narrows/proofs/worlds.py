"""Worlds that are drawn from the seed of a trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from narrows.data import open as open_data
from narrows.proofs.engine import Trial

__all__ = ["own_linear", "own_world"]


def own_world(trial: Trial, **options: Any) -> Trial:
    """The trial on a dictionary that is drawn from its seed, so that other seeds are other worlds.

    Args:
        trial: one seed; data that are no generated dictionary stay as they are.
        options: of the dictionary, beside those that the data were opened with.
    """
    return _own("dictionary", trial, options)


def own_linear(trial: Trial) -> Trial:
    """The same for linear-Gaussian data."""
    return _own("linear", trial, {})


def _own(world: str, trial: Trial, options: Mapping[str, Any]) -> Trial:
    opened = {name: value for name, value in trial.data.how.items() if name != "what"}
    if trial.data.how.get("what") != world:
        return trial
    seed = trial.seed + opened.get("seed", 0)
    return replace(trial, data=open_data(world, **{**opened, **options, "seed": seed}))
