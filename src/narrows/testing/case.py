"""A builder with synthetic data, and the error of a property that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from narrows.core import Autoencoder, Batch, Loss, Part, Pass, Player, Spec, Stage, Tree, seeded, tree_map
from narrows.core.check import NarrowsError, RequestError
from narrows.data.dataset import Dataset
from narrows.testing.made import Made, made
from narrows.train.stages import own_parts

__all__ = [
    "BATCH",
    "ROWS",
    "Case",
    "MethodError",
    "before_step",
    "examples",
    "leaves",
    "losses",
    "parts",
    "prepare",
    "some",
    "view",
]

ROWS, BATCH = 64, 8


class MethodError(NarrowsError, AssertionError):
    """A method lacks a property that every method must have; the message names it."""


@dataclass(frozen=True)
class Case:
    """A builder, its arguments, and synthetic data for it."""

    name: str
    builder: Callable[..., Autoencoder]
    spec: Spec
    options: dict[str, Any] = field(default_factory=dict)

    def accepted(self) -> bool:
        """Whether the builder accepts this spec; it raises `RequestError` otherwise."""
        try:
            self.model()
        except RequestError:
            return False
        return True

    def model(self, seed: int = 0) -> Autoencoder:
        """Build the model, with weights from a fixed seed."""
        with seeded(seed):
            return self.builder(self.spec, **self.options)

    def batch(self, model: Autoencoder, n: int = BATCH, seed: int = 0) -> Batch:
        """A batch of synthetic examples."""
        return examples(self.spec, n, seed).all(conditions=model.all_conditions)

    def prepared(self) -> tuple[Autoencoder, Batch]:
        """A model prepared with a batch, as before the first training step."""
        model = self.model()
        batch = self.batch(model)
        prepare(model, self.batch(model, ROWS))
        return model, batch

    def hold(self, check: Callable[[Case], None]) -> None:
        """Run a check; any exception becomes a `MethodError` with its name."""
        try:
            check(self)
        except MethodError:
            raise
        except Exception as error:
            said = f"raised {type(error).__name__}: {error}"
            raise MethodError(f"`{self.name}` on {self.spec}, {check.__name__}: {said}") from error

    def require(self, holds: bool, check: Callable[[Case], None], sentence: str) -> None:
        """Raise a `MethodError` unless a condition holds."""
        if not holds:
            raise MethodError(f"`{self.name}` on {self.spec}, {check.__name__}: {sentence}")


def examples(spec: Spec, n: int = ROWS, seed: int = 0) -> Dataset | Made:
    """Synthetic data with structure, see `narrows.testing.made`."""
    return made(spec, n, seed)


def leaves(tree: Tree) -> list[Tensor]:
    """The tensors of a tree."""
    found: list[Tensor] = []
    tree_map(lambda t: found.append(t) or t, tree)  # type: ignore[func-returns-value]
    return found


def parts(model: nn.Module) -> Iterator[Part]:
    """The parts of a model that have hooks."""
    return (m for m in model.modules() if isinstance(m, Part))


def before_step(part: Part, step: int) -> None:
    """Call the hook of every part."""
    for one in parts(part):
        one.before_step(step)


def view(stage: Stage, batch: Batch) -> Batch:
    """The batch after the view of a stage."""
    return batch if stage.view is None else stage.view(batch)


def losses(model: Autoencoder, batch: Batch, step: int = 0) -> Iterator[tuple[Stage, Player, Loss]]:
    """The loss of every player of every stage, with noise of a fixed seed."""
    for stage in model.stages():
        seen = view(stage, batch)
        passed: Pass | None = None
        for player in stage.part.players():
            with seeded(5):
                loss = player.loss(seen, step, passed)
            passed = passed or loss.passed
            yield stage, player, loss


def some(names: Sequence[str]) -> str:
    """The first few of many names."""
    shown = ", ".join(f"`{name}`" for name in sorted(names)[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


@torch.no_grad()
def prepare(model: Autoencoder, batch: Batch) -> None:
    """The initialisation before the first training step of each stage."""
    model.train()
    stages = model.stages()
    with seeded(0):
        for stage in stages:
            seen = view(stage, batch)
            for part in own_parts(stage, stages):
                part.prepare(model, seen)
