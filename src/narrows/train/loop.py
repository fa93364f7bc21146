"""The training loop: players are updated in turn, and hooks update buffers, for every method alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from narrows.core import Autoencoder, Batch, Loss, Part, Pass, Player, Prior
from narrows.core.schedules import Schedule, at, schedule
from narrows.train.optimizers import Maker, make_optimizer

__all__ = ["PlayerLosses", "Step", "Training", "train"]


@dataclass(frozen=True)
class Step:
    """The result of one step: its number, and its losses and terms, still on the device."""

    number: int
    terms: dict[str, Tensor]


class PlayerLosses(nn.Module):
    """The losses of all players behind one `forward`, the method that DDP and FSDP wrap.

    Its arguments are numbers and its result is a tensor, because Fabric inspects both; the batch and the
    whole `Loss` are attributes.
    """

    def __init__(self, part: Autoencoder | Prior) -> None:
        super().__init__()
        self.part = part
        self.players: list[Player] = part.players()
        self.batch: Batch | None = None
        self.passed: Pass | None = None
        self.loss: Loss | None = None

    def forward(self, player: int, step: int) -> Tensor:
        """The total loss of one player."""
        assert self.batch is not None
        self.loss = self.players[player].loss(self.batch, step, self.passed)
        return self.loss.total


class Training:
    """The state of a stage's training: the model or prior, its players' optimizers, the step.

    Args:
        part: an autoencoder or a prior: anything with `players()`.
        parts: the modules whose hooks are called; all of `part` if None.
        lr: learning rate or schedule of players without their own.
        optimizer: optimizer of players without their own, see `narrows.train.optimizers.make_optimizer`.
        weight_decay: weight decay of optimizers without their own.
        clip: maximum norm of a player's gradient, or None.
        wrap: makes a module distributed (Fabric's `setup_module`), or None on a single device.
        autocast: a context for the losses (mixed precision).
        compiled: compile the losses with `torch.compile`.
    """

    def __init__(
        self,
        part: Autoencoder | Prior,
        *,
        parts: Sequence[Part] | None = None,
        lr: Schedule = 1e-3,
        optimizer: str | Maker = "adam",
        weight_decay: float = 0.0,
        clip: float | None = None,
        wrap: Callable[[nn.Module], nn.Module] | None = None,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        compiled: bool = False,
    ) -> None:
        self.part, self.clip, self.autocast, self.step = part, clip, autocast, 0
        self.losses = losses = PlayerLosses(part)
        with self._others_frozen():  # else DDP would wait for their gradients
            self.wrapped: nn.Module = losses if wrap is None or not losses.players else wrap(losses)
        if compiled:
            self.wrapped = torch.compile(self.wrapped)  # type: ignore[assignment]
        if wrap is not None:
            losses.players = part.players()  # FSDP replaces the parameters
        self.players = losses.players
        # An optimizer made by a function has its own rate, unless its player has a schedule.
        custom = [p.optimizer is not None and not isinstance(p.optimizer, str) for p in self.players]
        shared = [0.0 if own else lr for own in custom]
        self.rates = [
            schedule(rate if p.lr is None else p.lr, "lr")
            for p, rate in zip(self.players, shared, strict=True)
        ]
        self.optimizers: dict[str, Optimizer] = {
            player.name: make_optimizer(
                player.optimizer or optimizer, player.parameters, at(rate, 0), weight_decay
            )
            for player, rate in zip(self.players, self.rates, strict=True)
            if player.parameters
        }
        if parts is None:
            parts = [m for m in part.modules() if isinstance(m, Part)]
        self.before_step = _overriding(parts, "before_step")
        self.before_update = _overriding(parts, "before_update")
        self.after_step = _overriding(parts, "after_step")
        self.reinitialise_rows = _overriding(parts, "reinitialise_rows")

    def step_player(self, index: int, batch: Batch, passed: Pass | None = None) -> Loss:
        """Update one player: loss, backward, hooks on gradients, optimizer step; other players are frozen.

        A player without parameters is updated by its hooks only (closed forms, counts): its loss is just
        evaluated.
        """
        player, rate = self.players[index], self.rates[index]
        if not player.parameters:
            with torch.no_grad(), self.autocast():
                return player.loss(batch, self.step, passed)
        optimizer = self.optimizers[player.name]
        optimizer.zero_grad(set_to_none=True)
        with self._only(player):
            self.losses.batch, self.losses.passed = batch, passed
            with self.autocast():
                total: Tensor = self.wrapped(index, self.step)
            total.backward()
        for hook in self.before_update:
            hook()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(player.parameters, self.clip)
        if callable(rate):
            for group in optimizer.param_groups:
                group["lr"] = rate(self.step)
        optimizer.step()
        loss, self.losses.batch, self.losses.passed, self.losses.loss = self.losses.loss, None, None, None
        assert loss is not None
        return loss

    def reset_moments(self, rows_of: Sequence[tuple[nn.Parameter, Tensor]]) -> None:
        """Set the optimizers' moments of some rows (along the first axis) of some parameters to 0."""
        for parameter, rows in rows_of:
            for optimizer in self.optimizers.values():
                for moment in optimizer.state.get(parameter, {}).values():
                    if torch.is_tensor(moment) and moment.shape == parameter.shape:
                        moment[rows] = 0

    @contextmanager
    def _others_frozen(self) -> Iterator[None]:
        """Freeze parameters of no player of this stage: another stage trains them."""
        owned = {id(p) for player in self.losses.players for p in player.parameters}
        others = [p for p in self.part.parameters() if p.requires_grad and id(p) not in owned]
        for p in others:
            p.requires_grad_(False)
        try:
            yield
        finally:
            for p in others:
                p.requires_grad_(True)

    @contextmanager
    def _only(self, player: Player) -> Iterator[None]:
        """Freeze the other players' parameters, and delete their gradients."""
        others = [p for other in self.players if other is not player for p in other.parameters]
        for p in others:
            p.requires_grad_(False)
            p.grad = None
        try:
            yield
        finally:
            for p in others:
                p.requires_grad_(True)


def train(training: Training, batches: Callable[[int], Batch], until: int) -> Iterator[Step]:
    """Train until the step count reaches `until`; yield the result of each step.

    Logging, saving and stopping are left to the caller. Nothing here synchronises with the device.

    Args:
        training: the state, whose `step` is the first step.
        batches: returns the batch of a step, by its number.
        until: the final step count, including earlier steps.
    """
    training.part.train()
    while training.step < until:
        for hook in training.before_step:
            hook(training.step)
        batch = batches(training.step)
        passed: Pass | None = None
        terms: dict[str, Tensor] = {}
        for index, player in enumerate(training.players):
            loss = training.step_player(index, batch, passed)
            passed = passed or loss.passed
            terms[f"{player.name}/loss"] = loss.total.detach()
            for name, value in loss.terms.items():
                terms[f"{player.name}/{name}"] = value
        if passed is not None:
            with torch.no_grad():
                for hook in training.after_step:
                    hook(passed)
                for hook in training.reinitialise_rows:
                    training.reset_moments(hook(training.part, passed))
        training.step += 1
        yield Step(training.step, terms)


def _overriding(parts: Sequence[Part], hook: str) -> list[Callable[..., Any]]:
    """The bound hooks of the modules that override one."""
    return [getattr(p, hook) for p in parts if getattr(type(p), hook) is not getattr(Part, hook)]
