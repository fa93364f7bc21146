"""The trainer: a training loop for all methods, checkpoints with exact resumption, progress."""

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
from narrows.train.stages import plan_for
from narrows.train.stopping import calibration_part, too_short, validation_part

__all__ = [
    "Engine",
    "Plan",
    "Progress",
    "Silent",
    "Step",
    "Store",
    "Training",
    "calibration_part",
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
    """Train a model in place, through all its stages, without writing files.

    Args:
        model: the model, trained in place and left in `eval()`.
        examples: the training data, a `Dataset`.
        held_out: a `Dataset` on which the loss is evaluated, or None. If early stopping needs one (see
            `Plan`) and it is None, a part of `examples` is held out.
        progress: True for a progress bar, or an object with the interface of `Silent`.
        device: ``cpu``, ``cuda`` or ``auto``.
        finished: names of stages that are not trained, because they were trained before.
        plan: fields of `Plan`: steps, epochs, batch_size, lr, seed ... None is the default.

    Returns:
        The metrics records, each averaged over some steps.
    """
    shown = progress if isinstance(progress, Silent) else Progress() if progress else None
    given = {"device": device, **plan}
    settled = plan_for(model, len(examples), given)
    if held_out is None and (settled.patience is not None or settled.calibration or settled.bag < 1):
        examples, held_out = validation_part(examples, settled)
    assert settled.batch_size is not None
    with training_mode(threads_for(model, examples, settled.batch_size)):
        return Engine(model, settled, examples, held_out, progress=shown, finished=finished).run()
