"""Whether the training was long enough."""

from __future__ import annotations

from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Check, Finding
from narrows.train.stopping import last_step, too_short

__all__ = ["budget"]


def budget(view: View) -> Finding:
    """The number of training steps, and whether the loss was still falling at the end."""
    steps = last_step(view.history)
    if not steps:
        return Finding()
    published = int(view.model.default_plan.get("steps", 0))
    short = too_short(view.history, published)
    made = f"Training made the {published:,} steps that the method makes by default."
    complete = made if steps >= published > 0 else ""
    says = short or complete or "The loss had converged when training ended."
    found = Check(
        "steps",
        float(steps),
        "steps",
        "warn" if short else "ok",
        says,
        no_chance="a setting of the training",
        no_spread="a setting of the training, the same for all examples",
    )
    return Finding((found,))
