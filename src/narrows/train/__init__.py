"""The trainer: a loop that knows no method, checkpoints that resume exactly, progress."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from narrows.core import Autoencoder
from narrows.core.progress import Progress, Silent
from narrows.train.cpu import Examples, threads_for, training_mode
from narrows.train.engine import Engine
from narrows.train.loop import Step, Training, train
from narrows.train.plan import Plan
from narrows.train.records import Store, read_metrics
from narrows.train.stopping import too_short, validation_part

__all__ = [
    "Engine",
    "Plan",
    "Progress",
    "Silent",
    "Step",
    "Store",
    "Training",
    "optimise",
    "read_metrics",
    "threads_for",
    "too_short",
    "train",
    "training_mode",
    "validation_part",
]


def optimise(
    model: Autoencoder,
    examples: Examples,
    *,
    held_out: Examples | None = None,
    progress: bool | Silent = False,
    device: str = "cpu",
    finished: Collection[str] = (),
    **plan: Any,
) -> list[dict[str, Any]]:
    """Train a model in place and in memory, through all its stages; nothing is written.

    Args:
        model: trained in place, left in `eval()`.
        examples: a `Dataset` to train on.
        held_out: a `Dataset` whose loss is followed, or None. Where it tells when to stop (see `Plan`) and is None,
            a part of `examples` is kept apart for it.
        progress: True for a bar, or somebody to tell.
        device: ``cpu``, ``cuda`` or ``auto``.
        finished: names of stages that are not trained, because they were before.
        plan: fields of `Plan`: steps, epochs, batch_size, lr, seed ... None is not said.

    Returns:
        The metrics records, each the means over some steps.
    """
    who = progress if isinstance(progress, Silent) else Progress() if progress else None
    how = Plan.of(len(examples), model.default_plan, {"device": device, **plan})
    if how.patience is not None and held_out is None:
        examples, held_out = validation_part(examples, how)
    assert how.batch_size is not None
    with training_mode(threads_for(model, examples, how.batch_size)):
        return Engine(model, how, examples, held_out, progress=who, finished=finished).run()
