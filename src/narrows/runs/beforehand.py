"""What is said before a training begins: the columns of a table, and a collapse that theory predicts."""

from __future__ import annotations

from narrows.audit.evidence.threshold import ROWS, linear_threshold
from narrows.core import Autoencoder
from narrows.core.progress import Silent
from narrows.data import Source
from narrows.runs.column_table import say_columns
from narrows.train import Plan

__all__ = ["say_beforehand"]

_LONG = 10**9


def say_beforehand(source: Source, model: Autoencoder, plan: Plan, shown: Silent) -> None:
    """Print the columns of a table, and how many latents will collapse where theory has a threshold.

    Args:
        source: the data.
        model: untrained.
        plan: of the training; the weight of the divergence is read at its last step.
        shown: prints the lines.
    """
    say_columns(source, model.likelihood, shown)
    if source.spec.kind != "array":
        return
    rows = source.train.batch(slice(0, min(ROWS, len(source.train))), model.conditions)
    found = linear_threshold(model, rows, plan.steps or _LONG)
    if found is not None and found.says:
        shown.say(found.says)
