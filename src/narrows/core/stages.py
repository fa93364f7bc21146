"""Who is trained on what, and in which order."""

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

    from narrows.core.parts import Autoencoder, Prior

__all__ = ["Player", "Stage"]


@dataclass(frozen=True)
class Player:
    """Who is optimised on which loss. An adversary is a second player with its own parameters.

    Args:
        name: for metrics and checkpoints.
        parameters: what it moves; no other player's.
        loss: ``(batch, step, passed) -> Loss``; `passed` is the first player's pass of this step, None for itself.
        lr: its own learning rate or schedule, or None for the plan's.
        optimizer: its own, spelled as ``"adam:betas=0.5/0.9"`` or a function of the parameters; None for the plan's.
    """

    name: str
    parameters: list[nn.Parameter]
    loss: Callable[[Batch, int, Pass | None], Loss]
    lr: Schedule | None = None
    optimizer: str | Callable[[list[nn.Parameter]], Optimizer] | None = None


@dataclass(frozen=True)
class Stage:
    """One thing to train.

    Args:
        name: for metrics and checkpoints.
        part: an autoencoder, or a prior over its codes.
        view: how it sees a batch of data (a prior sees codes), or None.
        plan: its own fields of the training plan: steps, lr, batch_size, ema ...
        fixed: whether the view gives an example the same each time, so that it can be kept; False where it draws.
    """

    name: str
    part: Autoencoder | Prior
    view: Callable[[Batch], Batch] | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)
    fixed: bool = True
