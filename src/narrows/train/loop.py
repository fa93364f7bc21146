"""The training loop: players step one after the other, hooks move the buffers. No branch on the method."""

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
    """What one step did: its number, its losses and terms, still on the device (reading them waits for it)."""

    number: int
    terms: dict[str, Tensor]


class PlayerLosses(nn.Module):
    """The losses of all players behind one `forward`, the only one that DDP and FSDP watch.

    It takes numbers and gives a tensor, for Fabric looks into what it hands on; the batch and the
    whole `Loss` wait beside it.
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
    """All that changes while a part is trained: the part, its players' optimizers, the step.

    Args:
        part: an autoencoder or a prior: anything with `players()`.
        parts: those whose hooks run; all that it has when None.
        lr: learning rate or schedule of the players that bring none.
        optimizer: of the players that bring none, see `narrows.train.optimizers.make_optimizer`.
        weight_decay: of the optimizers that do not say their own.
        clip: largest norm of a player's gradient, or None.
        wrap: makes a module distributed (Fabric's `setup_module`), or None on a single device.
        autocast: a context for the losses (mixed precision).
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
        with self._others_frozen():  # DDP would wait for their gradients
            self.wrapped: nn.Module = losses if wrap is None else wrap(losses)
        if compiled:
            self.wrapped = torch.compile(self.wrapped)  # type: ignore[assignment]
        if wrap is not None:
            losses.players = part.players()  # FSDP makes new parameters
        self.players = losses.players
        # An optimizer that a function made has its own rate, unless its player has a schedule.
        brings = [p.optimizer is not None and not isinstance(p.optimizer, str) for p in self.players]
        shared = [0.0 if own else lr for own in brings]
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
        """Move one player: loss, gradient, surgery on it, update. Rivals are frozen meanwhile.

        A player without parameters learns in its hooks alone (closed forms, counts): its loss is only evaluated.
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

    def forget(self, renewed: Sequence[tuple[nn.Parameter, Tensor]]) -> None:
        """Set to 0 what the optimizers remember of some rows (along the first axis) of some parameters."""
        for parameter, rows in renewed:
            for optimizer in self.optimizers.values():
                for moment in optimizer.state.get(parameter, {}).values():
                    if torch.is_tensor(moment) and moment.shape == parameter.shape:
                        moment[rows] = 0

    @contextmanager
    def _others_frozen(self) -> Iterator[None]:
        """What no player of this stage owns takes no gradient: another stage trains it."""
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
        """No gradient reaches another player's weights, and none is computed for them."""
        rivals = [p for other in self.players if other is not player for p in other.parameters]
        for p in rivals:
            p.requires_grad_(False)
            p.grad = None
        try:
            yield
        finally:
            for p in rivals:
                p.requires_grad_(True)


def train(training: Training, batches: Callable[[int], Batch], until: int) -> Iterator[Step]:
    """Train until the step count reaches `until`; yield what each step did.

    Logging, saving and stopping are the caller's for-loop. Nothing here waits for the device.

    Args:
        training: what is trained; its `step` says where to begin.
        batches: the batch of a step, by its number.
        until: how many steps have been made at the end, counted from the very first.
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
                    training.forget(hook(training.part, passed))
        training.step += 1
        yield Step(training.step, terms)


def _overriding(parts: Sequence[Part], hook: str) -> list[Callable[..., Any]]:
    """The bound hooks of the parts that define one; the others cost nothing."""
    return [getattr(p, hook) for p in parts if getattr(type(p), hook) is not getattr(Part, hook)]
