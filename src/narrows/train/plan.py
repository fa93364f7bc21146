"""The training plan: the hyperparameters of a training, as stored in a recipe."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from narrows.core.check import at_least, builtin, choice, fraction, number, refuse, whole
from narrows.core.schedules import Schedule, schedule
from narrows.train.optimizers import check_optimizer

__all__ = ["AT_MOST", "FIRST", "PATIENCE", "Plan", "split_steps"]

PATIENCE = 10
"""Evaluations without improvement after which training ends, if neither steps nor epochs are given."""

_BATCH, _SMALL_BATCH = 128, 8
_CEILING, _CEILING_EPOCHS = 5000, 10
AT_MOST = f"at the latest after {_CEILING:,} steps or {_CEILING_EPOCHS} epochs"
"""When training ends at the latest, if neither steps nor epochs are given: after the larger of the two."""

_VALIDATION = 2048

_OF_A_STAGE = (
    *("steps", "epochs", "patience", "batch_size", "lr", "optimizer", "weight_decay", "clip", "ema"),
    *("log_every", "measure_every"),
)
_BUDGET = ("steps", "epochs")
FIRST = ("tokenizer", "autoencoder")
"""The names of the first stage in a number of steps by stage."""
_PRECISIONS = ("32", "bf16")
_STRATEGIES = ("auto", "ddp", "fsdp", "tensor")
_SEEDS = 2**63 - 1


@dataclass(frozen=True)
class Plan:
    """The hyperparameters of a training.

    Args:
        steps: optimizer steps of the first stage, a fixed number unless `patience` is given.
        epochs: passes over the training examples, likewise. If neither is given, training ends when the loss
            on held-out rows has not improved for `patience` evaluations, at the latest after 10 epochs or
            5,000 steps, whichever is more, and the best weights are kept.
        prior_steps: steps of a second stage over the codes; the budget of the first stage if None.
        stages: fields of the plan for single stages, by the stage's name: steps, epochs, patience,
            batch_size, lr, optimizer, weight_decay, clip, ema, log_every and measure_every. They override the
            method's own fields for that stage. A stage with its own steps or epochs trains for this number,
            unless it has its own patience.
        patience: evaluations without improvement after which training ends; 10 if neither `steps` nor
            `epochs` is given, else None: no early stopping.
        validation: number of training rows held out for early stopping; if None and there is a `patience`, a
            tenth, at least 10 (at most a third) and at most 2048.
        calibration: fraction of the training rows that no step and no early stopping sees, with which anomaly
            scores are calibrated (`narrows.runs.run.Run.detect`); the same rows for all seeds. 0 for none.
        bag: fraction of the remaining training rows that is trained on, drawn with the seed; 1 for all. The runs of
            a group (``seeds``) then are trained on different rows.
        batch_size: examples per step, over all devices; if None, 128, or fewer if an epoch would have fewer
            than ten steps, but at least 8.
        lr: learning rate or schedule of players without their own.
        seed: seed of initialisation, order and noise.
        order_seed: seed of the order of the examples, by default `seed`; the runs of a sweep share it.
        optimizer: ``adam``, ``adamw``, ``sgd``, ``rmsprop`` or ``sghmc``, with options after a colon:
            ``adam:betas=0.5/0.9``.
        weight_decay: weight decay of an optimizer without its own.
        ema: decay of an exponential moving average of the weights, such as 0.999, or None. The averaged
            weights are evaluated and saved. In the first steps the decay is smaller, (1 + t) / (10 + t).
        clip: maximum norm of a player's gradient, or None.
        device: ``auto``, ``cpu`` or ``cuda``.
        devices: number of devices or processes.
        precision: ``32``, or ``bf16`` for automatic mixed precision.
        strategy: ``auto``, ``ddp``, ``fsdp``, or ``tensor``: the latents of a dictionary are sharded over the
            devices, which all get the same batch.
        compile: compile the losses with `torch.compile`.
        log_every: number of steps that a metrics record averages over.
        measure_every: steps between two evaluations on held-out data; 0 for once per epoch.
        checkpoint_seconds: seconds between checkpoints.

    Raises:
        RequestError: a value out of range.
    """

    steps: int | None = None
    epochs: float | None = None
    prior_steps: int | None = None
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    patience: int | None = None
    validation: int | None = None
    calibration: float = 0.0
    bag: float = 1.0
    batch_size: int | None = None
    lr: Schedule = 1e-3
    seed: int = 0
    order_seed: int | None = None
    optimizer: str = "adam"
    weight_decay: float = 0.0
    ema: float | None = None
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
            raise refuse("steps", self.steps, "omitted if ``epochs`` is given", "Give one of the two.")
        for name in ("steps", "prior_steps", "patience", "batch_size"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name))
        if self.epochs is not None and not number("epochs", self.epochs, low=0, high=1e9) > 0:
            raise refuse("epochs", self.epochs, "more than 0")
        whole("log_every", self.log_every)
        whole("devices", self.devices, high=1024)
        if self.validation is not None:
            whole("validation", self.validation, low=0)
        whole("measure_every", self.measure_every, low=0)
        if self.calibration:
            fraction("calibration", self.calibration)
        if not number("bag", self.bag, low=0, high=1) > 0:
            raise refuse("bag", self.bag, "a fraction above 0, at most 1")
        whole("seed", self.seed, low=0, high=_SEEDS)
        whole("order_seed", self.order, low=0, high=_SEEDS)
        rate = schedule(self.lr, "lr")
        if not callable(rate) and not number("lr", rate) > 0:
            raise refuse("lr", self.lr, "more than 0")
        if callable(rate) and not rate(0) >= 0:
            raise refuse("lr", self.lr, "a schedule that does not start below 0")
        number("weight_decay", self.weight_decay, low=0)
        at_least("checkpoint_seconds", self.checkpoint_seconds, 0)
        if self.clip is not None and not number("clip", self.clip) > 0:
            raise refuse("clip", self.clip, "more than 0, or omitted")
        if self.clip is not None and self.strategy == "tensor":
            raise refuse(
                "clip",
                self.clip,
                "omitted if ``strategy`` is tensor",
                "No device has the whole gradient.",
            )
        check_optimizer(self.optimizer)
        if self.ema is not None:
            fraction("ema", self.ema)
        for name, changes in self.stages.items():
            self.of_stage(name, {})
            if not isinstance(changes, Mapping):
                raise refuse("stages", self.stages, "fields of the plan by the name of a stage")
        choice("precision", self.precision, _PRECISIONS)
        choice("strategy", self.strategy, _STRATEGIES)
        choice("device", self.device.split(":")[0], ("auto", "cpu", "cuda"))

    @property
    def order(self) -> int:
        """The seed of the order of the examples."""
        return self.seed if self.order_seed is None else self.order_seed

    @property
    def open_ended(self) -> bool:
        """Whether neither steps nor epochs are given."""
        return self.steps is None and self.epochs is None

    @classmethod
    def of(cls, rows: int, default_plan: Mapping[str, Any], given: Mapping[str, Any], least: int = 1) -> Plan:
        """The settled plan for a number of training rows, from the user's fields and a method's defaults.

        Args:
            rows: number of training rows.
            default_plan: the method's own fields, each unless the user gave it. With a budget (steps or epochs)
                among them, such as a published one, they apply only if there are no held-out rows for early
                stopping, and the budget only if the user gave none. With ``validation`` 0 among them, the method
                has no early stopping.
            given: the user's fields; None is not given.
            least: the smallest batch that the model can be trained on, see `narrows.core.Part.least_batch`.

        Raises:
            RequestError: a batch is smaller than `least`, or there are fewer rows.

        Example:
            >>> published = {"steps": 200, "lr": 0.01}
            >>> plan = Plan.of(1, published, {"lr": 1e-3, "epochs": None})
            >>> plan.steps, plan.lr
            (200, 0.001)
            >>> Plan.of(500, published, {}).steps is None, Plan.of(500, {**published, "validation": 0}, {}).steps
            (True, 200)
            >>> Plan.of(500, {"lr": 0.004}, {}).lr, Plan.of(500, {"lr": 0.004}, {"lr": 0.001}).lr
            (0.004, 0.001)
        """
        given = {name: value for name, value in given.items() if value is not None}
        validation = {**default_plan, **given}.get("validation")
        if default_plan.keys() & set(_BUDGET) and rows > 1 and validation != 0:
            default_plan = {}
        if given.keys() & set(_BUDGET):
            default_plan = {name: value for name, value in default_plan.items() if name not in _BUDGET}
        return cls(**{**default_plan, **given}).settled(rows, least)

    def settled(self, rows: int, least: int = 1) -> Plan:
        """The plan for a number of training rows: batch size, patience and validation rows are numbers.

        Raises:
            RequestError: a batch is smaller than `least`, or there are fewer rows.

        Example:
            >>> plan = Plan().settled(160)
            >>> plan.validation, plan.batch_size, plan.patience
            (16, 14, 10)
            >>> Plan(steps=100).settled(10_000).batch_size
            128
        """
        rows -= self.calibration_rows(rows)
        patience = self.patience or (PATIENCE if self.open_ended and self.validation != 0 else None)
        validation = self.validation
        if validation is None:
            wanted = max(round(0.1 * rows), min(10, max(rows // 3, min(1, rows - 1))))
            validation = 0 if patience is None else min(_VALIDATION, wanted)
            patience = patience if validation else None  # test data are never used for early stopping
        left = max(1, round(self.bag * max(1, rows - validation)))
        shares = 1 if self.strategy == "tensor" else self.devices  # the parts of a batch
        batch_size = self.batch_size or min(left, max(_SMALL_BATCH, least * shares, min(_BATCH, left // 10)))
        plan = replace(self, patience=patience, validation=validation, batch_size=batch_size)
        size = min(left, plan.of_stage("autoencoder").batch_size or left)
        if size // shares < least:
            why, fewer = "the loss compares moments or distances of a batch of codes", "a smaller ``latent``"
            if least == 1:
                why, fewer = "one example for each device", "fewer ``devices``"
            fix = f"Use larger batches, {fewer}, or more data."
            raise refuse("batch_size", size, f"at least {least * shares}: {why}", fix)
        return plan

    def calibration_rows(self, rows: int) -> int:
        """The number of rows that are kept for calibration, of a number of training rows.

        Example:
            >>> Plan(calibration=0.1).calibration_rows(250), Plan().calibration_rows(250)
            (25, 0)
        """
        return min(max(1, round(self.calibration * rows)), rows - 1) if self.calibration else 0

    def evaluate_every(self, per_epoch: int) -> int:
        """Steps between two evaluations for early stopping, given the steps per epoch."""
        return self.measure_every or min(max(per_epoch, 50), 500)

    def of_stage(self, name: str, own: Mapping[str, Any] | None = None) -> Plan:
        """The plan of one stage.

        Args:
            name: the stage's name.
            own: the stage's own fields, see `narrows.core.Stage`. Its budget, steps or epochs, is the most it is
                trained for if this plan has none, and has no effect otherwise.

        Raises:
            RequestError: a field that is the same for all stages, or an unknown one.

        Example:
            >>> plan = Plan(epochs=3, prior_steps=9).of_stage("prior", {"lr": 3e-4, "steps": 5})
            >>> plan.steps, plan.epochs, plan.lr
            (9, None, 0.0003)
            >>> open_ended = Plan(patience=4).of_stage("prior", {"steps": 5})
            >>> open_ended.steps, open_ended.patience, Plan(steps=7).of_stage("prior", {"steps": 5}).steps
            (5, 4, 7)
        """
        given = dict(self.stages.get(name, {}))
        if name == "prior" and self.prior_steps is not None and "epochs" not in given:
            given = {"steps": self.prior_steps, "epochs": None, **given}
        changes = dict(own or {})
        if not self.open_ended or given.keys() & set(_BUDGET):
            changes = {field: value for field, value in changes.items() if field not in _BUDGET}
        elif changes.keys() & set(_BUDGET):
            changes = {"patience": self.patience, **changes}
        changes |= given
        for field_name in changes:
            if field_name not in _OF_A_STAGE:
                expected = f"one of {', '.join(_OF_A_STAGE)}"
                raise refuse("stages", field_name, expected, "All other fields apply to all stages.")
        if "steps" in changes or "epochs" in changes:
            changes = {"steps": None, "epochs": None, "patience": None, **changes}
        return replace(self, stages={}, prior_steps=None, **changes) if changes else self

    def steps_of(self, per_epoch: int) -> int:
        """The maximum number of steps, given the steps per epoch."""
        if self.open_ended:
            return max(_CEILING, _CEILING_EPOCHS * per_epoch)
        return self.steps if self.steps is not None else max(1, round((self.epochs or 0) * per_epoch))

    def to_json(self) -> dict[str, Any]:
        """The plan as stored in a recipe.

        Raises:
            RequestError: the learning rate is a Python callable, which a recipe cannot store.
        """
        if callable(self.lr):
            raise refuse("lr", self.lr, "a number or a text such as 'cosine:1e-3:0:5000' if the run is saved")
        return asdict(self)

    @classmethod
    def from_json(cls, form: dict[str, Any]) -> Plan:
        """The plan from a recipe; unknown entries are refused."""
        known = {f.name for f in fields(cls)}
        for name in form:
            if name not in known:
                raise refuse("recipe.training", name, "an entry that this version knows", "Was it edited?")
        return cls(**form)


def split_steps(given: Mapping[str, Any], first: Collection[str] = FIRST) -> dict[str, Any]:
    """The fields of a plan, with ``steps`` by stage divided into ``steps`` and ``stages``.

    Args:
        given: fields of `Plan`; ``steps`` may be a mapping from the names of stages to numbers.
        first: the names of the first stage that is trained.

    Raises:
        RequestError: a number of steps that is not an integer of at least 1, or both names of the first stage.

    Example:
        >>> split_steps({"steps": {"tokenizer": 2000, "prior": 3000}})
        {'steps': 2000, 'stages': {'prior': {'steps': 3000}}}
        >>> split_steps({"steps": 10})
        {'steps': 10}
    """
    by_stage = given.get("steps")
    if not isinstance(by_stage, Mapping):
        return dict(given)
    if len(set(first) & set(by_stage)) > 1:
        raise refuse("steps", dict(by_stage), "one number for the first stage", "These are two names of it.")
    counts = {str(name): whole("steps", count) for name, count in by_stage.items()}
    steps = [counts.pop(name) for name in first if name in counts]
    stages = {name: dict(fields) for name, fields in (given.get("stages") or {}).items()}
    for name, count in counts.items():
        stages.setdefault(name, {})["steps"] = count
    return {**given, "steps": steps[0] if steps else None, "stages": stages}
