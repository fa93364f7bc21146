"""Early stopping: when a training has learned what held-out rows can tell, and whether a fit was too short."""

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
from narrows.data.dataset import Dataset, Examples
from narrows.train.plan import Plan

__all__ = ["Stopper", "Subset", "Weights", "too_short", "validation_part"]

FLOOR = 500
"""Steps before which no training is stopped."""

FEWEST = 100
"""A fit of fewer steps is called short whatever its losses."""

STILL_FALLING = 0.03
"""A loss that made this share of all its fall in the last fifth of the steps was still falling."""


@dataclass
class Stopper:
    """Follows a loss on held-out rows; done when it has not improved for `patience` looks.

    Args:
        patience: looks without improvement after which training ends.
        floor: steps before which it does not end.
        best: the lowest loss so far.
        best_step: the step at which it was seen; -1 as long as no look counted.
        waited: looks since then.
        step: of the last look.

    Example:
        >>> stopper = Stopper(patience=2, floor=0)
        >>> [stopper.look(step, loss) for step, loss in enumerate([3.0, 2.0, 2.5, 2.0])], stopper.done
        ([True, True, False, False], True)
    """

    patience: int
    floor: int = FLOOR
    best: float = math.inf
    best_step: int = -1
    waited: int = 0
    step: int = 0

    def look(self, step: int, loss: float) -> bool:
        """Take a loss; True where it is the lowest so far. One that is not finite is no improvement."""
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
        """The state as a checkpoint keeps it; infinity, which JSON lacks, is None."""
        return {**asdict(self), "best": self.best if math.isfinite(self.best) else None}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Stopper:
        """The state that a checkpoint kept."""
        return cls(**{**kept, "best": math.inf if kept["best"] is None else kept["best"]})


class Weights:
    """A copy of a model's parameters and buffers as this process holds them, whole or in pieces.

    Args:
        module: copied from.
    """

    def __init__(self, module: nn.Module) -> None:
        self.kept = {name: t.detach().clone() for name, t in _tensors(module).items()}

    @torch.no_grad()
    def put_back(self, module: nn.Module) -> None:
        """Give a module these values, in place."""
        for name, tensor in _tensors(module).items():
            tensor.detach().copy_(self.kept[name])

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Inside, a module has these values."""
        present = Weights(module)
        self.put_back(module)
        try:
            yield
        finally:
            present.put_back(module)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict(chain(module.named_parameters(), module.named_buffers()))


def validation_part(examples: Examples, plan: Plan) -> tuple[Any, Any]:
    """The rows to train on, and those of them that are kept apart to tell when to stop (or None).

    They are drawn from the order's seed alone; of data that stay on disk they are the last rows.

    Args:
        examples: the training part.
        plan: settled, so that it says how many.
    """
    count, n = plan.validation or 0, len(examples)
    if not 0 < count < n:
        return examples, None
    if isinstance(examples, Dataset) and examples.mapped:
        return examples.rows(slice(0, n - count)), examples.rows(slice(n - count, n))
    drawn = torch.from_numpy(np.random.default_rng((plan.order, n)).permutation(n))
    parts = drawn[count:].sort().values, drawn[:count].sort().values
    if isinstance(examples, Dataset):
        return examples.rows(parts[0]), examples.rows(parts[1])
    return Subset(examples, parts[0]), Subset(examples, parts[1])


class Subset:
    """Some examples of a source that cannot be cut itself.

    Args:
        examples: the source.
        rows: which of its examples, (n,).
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


def too_short(history: Sequence[Mapping[str, Any]], published: int = 0) -> str:
    """A sentence where a training was too short to mean anything, else nothing.

    It was where the lowest loss of the first stage made 3 % of all its fall in the last fifth of the steps, or
    where there were too few steps to tell. The loss is the one on held-out rows, where there is one.

    Args:
        history: the metrics records.
        published: the published number of steps, which are enough whatever the loss does; 0 if unknown.

    Example:
        >>> falling = [{"stage": "autoencoder", "step": s, "held_out/loss": 100.0 - s} for s in range(1, 101)]
        >>> too_short(falling)[:50]
        'This fit was short: its loss was still falling aft'
        >>> too_short([{**record, "held_out/loss": 1.0} for record in falling])
        ''
    """
    records = [r for r in history if r.get("stage") == "autoencoder"]
    last = max((int(r["step"]) for r in records), default=0)
    if not last or last >= published > 0:
        return ""
    until = f"for the {published:,} steps of the paper" if published else "until held-out rows say stop"
    mend = f"Train longer (more steps or epochs), or leave both out to train {until}."
    if last < FEWEST:
        return f"This fit was short: {last} steps say little about the method. {mend}"
    for name in ("held_out/loss", "autoencoder/loss"):
        curve = [(int(r["step"]), float(r[name])) for r in records if name in r]
        if len(curve) >= 5:
            lowest = list(accumulate((value for _, value in curve), min))  # so far: it may have risen since
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
