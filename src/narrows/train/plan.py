"""How to train: the numbers that a recipe keeps, checked once."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from narrows.check import at_least, builtin, choice, number, refuse, whole
from narrows.schedules import Schedule, schedule

__all__ = ["Plan"]

_OPTIMIZERS = ("adam", "adamw", "sgd")
_PRECISIONS = ("32", "bf16")
_STRATEGIES = ("auto", "ddp", "fsdp", "tensor")
_SEEDS = 2**63 - 1


@dataclass(frozen=True)
class Plan:
    """How to train.

    Args:
        steps: optimizer steps of the first stage; None when `epochs` says it.
        epochs: passes over the training examples; None when `steps` says it. 10 when neither is given.
        prior_steps: steps of a second stage over the codes; as many as the first stage when None.
        batch_size: examples a step, over all devices.
        lr: learning rate or schedule, for players that bring none of their own.
        seed: of initialisation, order and noise.
        order_seed: of the order of the examples alone, or None for the seed's: the runs of a sweep share it.
        optimizer: ``adam``, ``adamw`` or ``sgd``.
        weight_decay: of the optimizer.
        clip: largest norm of a player's gradient, or None.
        device: ``auto``, ``cpu`` or ``cuda``.
        devices: how many devices or processes.
        precision: ``32``, or ``bf16`` for automatic mixed precision.
        strategy: ``auto``, ``ddp``, ``fsdp``, or ``tensor``: the latents of a dictionary cut over the devices, which
            all see the same batch.
        compile: compile the losses with `torch.compile`.
        log_every: steps a metrics record averages over.
        measure_every: steps between two looks at held-out data; at the end of each epoch only when 0.
        checkpoint_seconds: seconds between checkpoints.

    Raises:
        RequestError: a value out of range.
    """

    steps: int | None = None
    epochs: float | None = None
    prior_steps: int | None = None
    batch_size: int = 128
    lr: Schedule = 1e-3
    seed: int = 0
    order_seed: int | None = None
    optimizer: str = "adam"
    weight_decay: float = 0.0
    clip: float | None = None
    device: str = "auto"
    devices: int = 1
    precision: str = "32"
    strategy: str = "auto"
    compile: bool = False
    log_every: int = 50
    measure_every: int = 0
    checkpoint_seconds: float = 20.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            object.__setattr__(self, name, builtin(value))
        if self.steps is not None and self.epochs is not None:
            raise refuse("steps", self.steps, "left out where ``epochs`` is given", "Say one of the two.")
        for name in ("steps", "prior_steps"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name))
        if self.epochs is not None and not number("epochs", self.epochs, low=0, high=1e9) > 0:
            raise refuse("epochs", self.epochs, "more than 0")
        for name in ("batch_size", "log_every"):
            whole(name, getattr(self, name))
        whole("devices", self.devices, high=1024)
        whole("measure_every", self.measure_every, low=0)
        whole("seed", self.seed, low=0, high=_SEEDS)
        whole("order_seed", self.order, low=0, high=_SEEDS)
        rate = schedule(self.lr, "lr")
        if not callable(rate) and not number("lr", rate) > 0:
            raise refuse("lr", self.lr, "more than 0")
        if callable(rate) and not rate(0) >= 0:
            raise refuse("lr", self.lr, "a schedule that does not begin below 0")
        number("weight_decay", self.weight_decay, low=0)
        at_least("checkpoint_seconds", self.checkpoint_seconds, 0)
        if self.clip is not None and not number("clip", self.clip) > 0:
            raise refuse("clip", self.clip, "more than 0, or left out")
        if self.clip is not None and self.strategy == "tensor":
            raise refuse(
                "clip",
                self.clip,
                "left out where ``strategy`` is tensor",
                "No device has the whole gradient.",
            )
        choice("optimizer", self.optimizer, _OPTIMIZERS)
        choice("precision", self.precision, _PRECISIONS)
        choice("strategy", self.strategy, _STRATEGIES)
        choice("device", self.device.split(":")[0], ("auto", "cpu", "cuda"))

    @property
    def order(self) -> int:
        """The seed of the order of the examples."""
        return self.seed if self.order_seed is None else self.order_seed

    def steps_of(self, stage: str, per_epoch: int) -> int:
        """How many steps a stage takes, given the steps an epoch has."""
        first = self.steps if self.steps is not None else max(1, round((self.epochs or 10) * per_epoch))
        return self.prior_steps if stage == "prior" and self.prior_steps is not None else first

    def to_json(self) -> dict[str, Any]:
        """The plan as a recipe keeps it.

        Raises:
            RequestError: the learning rate is a Python callable, which a recipe cannot hold.
        """
        if callable(self.lr):
            raise refuse("lr", self.lr, "a number or a text such as 'cosine:1e-3:0:5000' where a run is kept")
        return asdict(self)

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Plan:
        """The plan that a recipe kept; unknown entries are refused."""
        known = {f.name for f in fields(cls)}
        for name in kept:
            if name not in known:
                raise refuse("recipe.training", name, "an entry that this version knows", "Was it edited?")
        return cls(**kept)
