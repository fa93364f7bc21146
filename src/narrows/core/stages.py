"""Players and stages: which parameters are trained on which loss, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

from narrows.core.code import Loss, Pass
from narrows.core.schedules import Schedule
from narrows.core.values import Batch

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from narrows.core.autoencoder import Autoencoder
    from narrows.core.prior import Prior

__all__ = ["Player", "Stage"]


@dataclass(frozen=True)
class Player:
    """Parameters with their own loss and optimizer. An adversary is a second player.

    Args:
        name: name in metrics and checkpoints.
        parameters: the parameters it updates; each belongs to one player only.
        loss: ``(batch, step, passed) -> Loss``; `passed` is the first player's pass of this step, None for
            itself.
        lr: its learning rate or schedule, or None for the plan's.
        optimizer: its optimizer, spelled as ``"adam:betas=0.5/0.9"`` or a function of the parameters; None
            for the plan's.
    """

    name: str
    parameters: list[nn.Parameter]
    loss: Callable[[Batch, int, Pass | None], Loss]
    lr: Schedule | None = None
    optimizer: str | Callable[[list[nn.Parameter]], Optimizer] | None = None


@dataclass(frozen=True)
class Stage:
    """A stage of training.

    Args:
        name: name in metrics and checkpoints.
        part: an autoencoder, or a prior over its codes.
        view: maps a batch of data to the batch of this stage (a prior is trained on codes), or None.
        plan: fields of the training plan for this stage: lr, batch_size, ema ...; steps or epochs among them are
            the most it is trained for if the user gave neither.
        deterministic: whether the view is deterministic, so that its result can be cached; False if it
            samples.
        rows: number of training examples that `prepare` gets at most.

    A stage whose part has no players ends after `prepare`.
    """

    name: str
    part: Autoencoder | Prior
    view: Callable[[Batch], Batch] | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)
    deterministic: bool = True
    rows: int = 4096
