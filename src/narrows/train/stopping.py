"""Early stopping on held-out rows, and a warning about fits that were too short."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import accumulate, chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.data.dataset import Dataset, Examples
from narrows.data.split import apart
from narrows.data.stores import Ragged
from narrows.train.plan import AT_MOST, Plan

__all__ = [
    "Stopper",
    "Subset",
    "Weights",
    "calibration_part",
    "last_step",
    "split_off",
    "too_short",
    "validation_part",
]

_CALIBRATION = 12
"""Seed of the calibration rows, which are the same for all seeds of a training, so that their models are comparable."""

FLOOR = 500
"""Steps before which no training is stopped early."""

FEWEST = 100
"""A fit of fewer steps is called short, whatever its losses."""

STILL_FALLING = 0.03
"""A loss with more than this share of its decrease in the last fifth of the steps was still decreasing."""


@dataclass
class Stopper:
    """Monitors a loss on held-out rows; done if it has not improved for `patience` evaluations.

    Args:
        patience: evaluations without improvement after which training ends.
        floor: the minimum number of steps.
        best: the lowest loss so far.
        best_step: the step of the lowest loss; -1 before the first evaluation.
        waited: evaluations since then.
        step: the step of the last evaluation.

    Example:
        >>> stopper = Stopper(patience=2, floor=0)
        >>> [stopper.update(step, loss) for step, loss in enumerate([3.0, 2.0, 2.5, 2.0])], stopper.done
        ([True, True, False, False], True)
    """

    patience: int
    floor: int = FLOOR
    best: float = math.inf
    best_step: int = -1
    waited: int = 0
    step: int = 0

    def update(self, step: int, loss: float) -> bool:
        """Record a loss; true if it is the lowest so far. A non-finite loss is not an improvement."""
        self.step = step
        if loss < self.best:
            self.best, self.best_step, self.waited = loss, step, 0
            return True
        self.waited += 1
        return False

    @property
    def done(self) -> bool:
        """Whether to stop."""
        return self.best_step >= 0 and self.waited >= self.patience and self.step >= self.floor

    def to_json(self) -> dict[str, Any]:
        """The state for a checkpoint; infinity, which JSON does not have, is None."""
        return {**asdict(self), "best": self.best if math.isfinite(self.best) else None}

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Stopper:
        """The state from a checkpoint."""
        return cls(**{**form, "best": math.inf if form["best"] is None else form["best"]})


class Weights:
    """A copy of a model's parameters and buffers on this process, whole or sharded.

    Args:
        module: the model to copy from.
    """

    def __init__(self, module: nn.Module) -> None:
        self.values = {name: t.detach().clone() for name, t in _tensors(module).items()}

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Load these values into a module, in place."""
        for name, tensor in _tensors(module).items():
            tensor.detach().copy_(self.values[name])

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """A context in which a module has these values."""
        current = Weights(module)
        self.copy_to(module)
        try:
            yield
        finally:
            current.copy_to(module)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict(chain(module.named_parameters(), module.named_buffers()))


def validation_part(examples: Examples, plan: Plan) -> tuple[Any, Any]:
    """The rows to train on, and the rows held out for early stopping (or None).

    They are drawn with the order's seed; of data on disk they are the last rows. Calibration rows are in neither, and
    with ``bag`` only a part of the others is trained on.

    Args:
        examples: the training data.
        plan: a settled plan, with the number of rows.
    """
    examples, _ = split_off(examples, plan.calibration_rows(len(examples)), _CALIBRATION)
    train, validation = split_off(examples, plan.validation or 0, plan.order)
    if plan.bag < 1:
        left = len(train) - max(1, round(plan.bag * len(train)))
        train, _ = split_off(train, left, plan.seed + 1, disjoint=False)
    return train, validation


def calibration_part(examples: Examples, plan: Plan) -> Any:
    """The training rows that are kept from training for a calibration, or None."""
    return split_off(examples, plan.calibration_rows(len(examples)), _CALIBRATION)[1]


def split_off(examples: Examples, count: int, seed: int, disjoint: bool = True) -> tuple[Any, Any]:
    """Examples without `count` of them, and those (or None): drawn with a seed; of data on disk the last rows.

    Of windows of series that overlap, blocks are drawn, and windows that share a step with them are in neither part.

    Args:
        examples: the examples.
        count: how many are split off.
        seed: seed of the draw.
        disjoint: whether windows in different parts must not share steps.

    Raises:
        RequestError: all other windows share a step with those.
    """
    n = len(examples)
    if not 0 < count < n:
        return examples, None
    if not isinstance(examples, Dataset):
        parts = _drawn(n, count, seed)
        return Subset(examples, parts[0]), Subset(examples, parts[1])
    if examples.mapped:
        return examples.rows(slice(0, n - count)), examples.rows(slice(n - count, n))
    parts = (_windows(examples, count, seed) if disjoint else None) or _drawn(n, count, seed)
    return examples.rows(parts[0]), examples.rows(parts[1])


def _drawn(n: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """The indices of n examples without `count` of them, and of these, ascending."""
    drawn = torch.from_numpy(np.random.default_rng((seed, n)).permutation(n))
    return drawn[count:].sort().values, drawn[:count].sort().values


def _windows(data: Dataset, count: int, seed: int) -> tuple[Tensor, Tensor] | None:
    """The same for windows of series that overlap; None for other data."""
    series, step = (data.columns.get(name) for name in ("series", "step"))
    if not isinstance(data.x, Ragged) or not isinstance(series, Tensor) or not isinstance(step, Tensor):
        return None
    spans = torch.stack([step, step + data.x.lengths], 1)
    parts = apart(series.numpy(), spans.numpy(), count, (seed, len(data)))
    if parts is None:
        return None
    if not len(parts[0]):
        raise RequestError(
            f"All {len(data) - count} other windows share steps with the {count} that are kept from training. "
            "Give longer series, shorter windows, or a larger ``stride``."
        )
    return torch.from_numpy(parts[0]), torch.from_numpy(parts[1])


class Subset:
    """Some examples of a source that cannot be indexed itself.

    Args:
        examples: the source.
        rows: indices of its examples, (n,).
    """

    def __init__(self, examples: Examples, rows: Tensor) -> None:
        self.examples, self.rows = examples, rows

    def __len__(self) -> int:
        return len(self.rows)

    def batch(
        self, rows: Tensor | slice, conditions: tuple[str, ...] = (), device: str | torch.device = "cpu"
    ) -> Batch:
        """Some of these examples."""
        chosen = self.rows[rows if isinstance(rows, slice) else rows.cpu()]
        return self.examples.batch(chosen, conditions, device)


def last_step(history: Sequence[Mapping[str, Any]]) -> int:
    """The last recorded step of the autoencoder's stage; 0 if there is none.

    Example:
        >>> last_step([{"stage": "autoencoder", "step": 9}, {"stage": "prior", "step": 50}])
        9
    """
    return max((int(r["step"]) for r in history if r.get("stage") == "autoencoder"), default=0)


def too_short(history: Sequence[Mapping[str, Any]], published: int = 0) -> str:
    """A sentence if a training was too short, else an empty text.

    It was if the lowest loss of the first stage made 3 % of its total decrease in the last fifth of the
    steps, or if there were too few steps to tell. The loss is the one on held-out rows, if there are any.

    Args:
        history: the metrics records.
        published: the published number of steps, which is enough whatever the loss; 0 if unknown.

    Example:
        >>> falling = [{"stage": "autoencoder", "step": s, "held_out/loss": 100.0 - s} for s in range(1, 101)]
        >>> too_short(falling)[:50]
        'This fit was short: its loss was still falling aft'
        >>> too_short([{**record, "held_out/loss": 1.0} for record in falling])
        ''
    """
    records = [r for r in history if r.get("stage") == "autoencoder"]
    last = last_step(records)
    if not last or last >= published > 0:
        return ""
    default = f"makes {published:,} steps" if published else f"ends by early stopping, {AT_MOST}"
    mend = f"Give more steps or epochs; with neither, training {default}."
    if last < FEWEST:
        return f"This fit was short: {last} steps say little about the method. {mend}"
    for name in ("held_out/loss", "autoencoder/loss"):
        curve = [(int(r["step"]), float(r[name])) for r in records if name in r]
        if len(curve) >= 5:
            lowest = list(accumulate((value for _, value in curve), min))  # the loss may have increased since
            late = next(low for (step, _), low in zip(curve, lowest, strict=True) if step >= 0.8 * last)
            fall, recent = lowest[0] - lowest[-1], late - lowest[-1]
            if fall > 0 and recent > STILL_FALLING * fall:
                share = f"{100 * recent / fall:.0f} %"
                return (
                    f"This fit was short: its loss was still falling after {last:,} steps ({share} of all its fall "
                    f"was in the last fifth). {mend}"
                )
            return ""
    return ""
