"""A prior with synthetic codes, and how its draws are counted and compared."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.core import Batch, Condition, Prior, Symbols, seeded
from narrows.core.check import RequestError
from narrows.testing.case import MethodError
from narrows.train.loop import Training

__all__ = ["CLASSES", "DRAWS", "PriorCase", "cells_of", "edges_of", "far_from", "far_from_each_other"]

CLASSES = 2
DRAWS = 1000
"""How many draws are compared with probabilities."""
_POINTS = 51
"""Points along each axis of the grid on which a density is summed."""
_ROWS, _BATCH, _STEPS, _LR = 512, 128, 40, 1e-2
_MOST_CELLS = 256
_SIDE = 5
"""Cells along each axis of the plane in which draws of real numbers are counted."""
_FEWEST = 5.0
"""Smallest expected count of a cell of a chi-square statistic; rarer cells are counted as one."""
_FAR = 5.0
"""From how many standard deviations on a chi-square statistic is too large."""

Table: TypeAlias = tuple[Tensor, Tensor, list[Tensor]]
"""Symbols (n, *shape), their probabilities (n,), and of real symbols the axes of their grid."""


@dataclass(frozen=True)
class PriorCase:
    """A builder of priors, its arguments, and the symbols that it models.

    Args:
        name: of the prior, for messages.
        builder: ``builder(symbols, **options)``, a prior.
        symbols: what a code is.
        model: handed to `Prior.prepare`, which most priors do not read.
        options: arguments of the builder.
        sampling: options of `sample` for all draws.
        trained: the priors that were trained already, without and with labels.
        tables: their probabilities, by label.
    """

    name: str
    builder: Callable[..., Prior]
    symbols: Symbols
    model: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    trained: dict[bool, Prior] = field(default_factory=dict)
    tables: dict[int | None, Table | None] = field(default_factory=dict)

    @property
    def labelled(self) -> bool:
        """Whether the builder makes priors that are told labels: has the arguments ``labels`` and ``classes``."""
        return {"labels", "classes"} <= set(inspect.signature(self.builder).parameters)

    def build(self, seed: int = 0, labels: bool = False) -> Prior:
        """A new prior, with weights from a fixed seed."""
        told = {"labels": True, "classes": CLASSES} if labels else {}
        with seeded(seed):
            return self.builder(self.symbols, **{**self.options, **told})

    def codes(self, n: int = _ROWS, seed: int = 0) -> Batch:
        """Synthetic codes with labels that change them: each number depends on the one before it.

        Real numbers have the standard deviations of a posterior as condition.
        """
        with seeded(seed):
            shape, labels = self.symbols.shape, torch.randint(CLASSES, (n,))
            told = {"labels": F.one_hot(labels, CLASSES).float()}
            if codes := self.symbols.codes:
                step = torch.multinomial(torch.tensor([0.7, 0.2, 0.1][:codes]), n * math.prod(shape), True)
                first = 2 * labels + torch.randint(2, (n,))
                rows = (first[:, None] + step.view(n, -1).cumsum(1)) % codes
                return Batch(rows.view(n, *shape), condition=told)
            noise = torch.randn(n, math.prod(shape))
            away = noise.cumsum(1) * 0.7 + 2 * labels[:, None] - 1
            z = (away + 3).view(n, *shape)
            return Batch(z, condition={**told, "deviation": torch.full_like(z, 0.3)})

    def fitted(self, labels: bool = False) -> Prior:
        """A copy of the prior after a few steps of training, in `eval()`."""
        if labels not in self.trained:
            self.trained[labels] = self._trained(labels)
        return deepcopy(self.trained[labels])

    def _trained(self, labels: bool) -> Prior:
        prior, batch = self.build(labels=labels), self.codes()
        with seeded(1):
            prior.train()
            with torch.no_grad():
                prior.prepare(self.model, batch)
            training = Training(prior, lr=_LR)
            for step in range(_STEPS if training.players else 0):
                for hook in training.before_step:
                    hook(step)
                passed = None
                for index in range(len(training.players)):
                    loss = training.step_player(index, batch[slice(0, _BATCH)], passed)
                    passed = loss.passed or passed
                with torch.no_grad():
                    for after in training.after_step if passed is not None else ():
                        after(passed)
                training.step += 1
        return prior.eval()

    def draw(self, prior: Prior, n: int, seed: int = 3, label: int | None = None, **options: Any) -> Tensor:
        """n draws with a fixed seed, of one class if it is given."""
        told = {} if label is None else self.told(n, label)
        with seeded(seed), torch.no_grad():
            return prior.sample(n, told, **{**self.sampling, **options})

    def nll(self, prior: Prior, symbols: Tensor, label: int | None = None) -> Tensor:
        """-log p of symbols, of one class if it is given; noise that an estimate needs has a fixed seed."""
        told = {} if label is None else self.told(len(symbols), label)
        with seeded(4):
            return prior.nll(symbols, told).detach()

    def told(self, n: int, label: int) -> Condition:
        """The condition of n rows of one class."""
        return {"labels": F.one_hot(torch.full((n,), label), CLASSES).float()}

    def variants(self) -> Iterator[tuple[Prior, int | None]]:
        """A fitted prior that is told nothing; and one that is told labels, if there is, with the label to ask for."""
        yield self.fitted(), None
        if self.labelled:
            yield self.fitted(labels=True), 1

    def known(self, prior: Prior) -> set[str]:
        """The options of the prior's `sample`."""
        parameters = inspect.signature(prior.sample).parameters.values()
        return {p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def everything(self) -> Tensor | None:
        """All symbols there are, (cases, *shape); None if they are real or too many."""
        shape, codes = self.symbols.shape, self.symbols.codes
        if not codes or codes ** math.prod(shape) > _MOST_CELLS:
            return None
        rows = torch.cartesian_prod(*[torch.arange(codes)] * math.prod(shape))
        return rows.view(-1, *shape)

    def table(self, prior: Prior, label: int | None) -> Table | None:
        """All symbols and their probabilities; or points of a grid, their densities times a cell's area, and its axes.

        None if the prior has no likelihood, or if there are too many symbols or more than two numbers.
        """
        if label not in self.tables:
            self.tables[label] = self._table(prior, label) if prior.has_nll else None
        return self.tables[label]

    def _table(self, prior: Prior, label: int | None) -> Table | None:
        cases = self.everything()
        if cases is not None:
            return cases, (-self.nll(prior, cases, label)).exp(), []
        if self.symbols.codes or math.prod(self.symbols.shape) != 2:
            return None
        drawn = self.draw(prior, DRAWS, seed=11, label=label).flatten(1)
        low, high = drawn.min(0).values - drawn.std(0), drawn.max(0).values + drawn.std(0)
        axes = [torch.linspace(float(a), float(b), _POINTS) for a, b in zip(low, high, strict=True)]
        points = torch.cartesian_prod(*axes).view(-1, *self.symbols.shape)
        area = float(((high - low) / (_POINTS - 1)).prod())
        return points, (-self.nll(prior, points, label)).exp() * area, axes

    def require(self, holds: bool, check: Callable[..., Any], sentence: str) -> None:
        """Raise a `MethodError` unless a condition holds."""
        if not holds:
            raise MethodError(f"`{self.name}` on {self.symbols}, {check.__name__}: {sentence}")

    def refused(self, check: Callable[..., Any], what: str, call: Callable[[], Any]) -> None:
        """Require that a call raises a `RequestError`."""
        try:
            call()
        except RequestError:
            return
        self.require(False, check, f"{what} was accepted.")

    def hold(self, check: Callable[[PriorCase], bool]) -> bool:
        """Run a check: whether it applies. Any exception becomes a `MethodError` with its name."""
        try:
            return check(self)
        except MethodError:
            raise
        except Exception as error:
            said = f"raised {type(error).__name__}: {error}"
            raise MethodError(f"`{self.name}` on {self.symbols}, {check.__name__}: {said}") from error


def cells_of(symbols: Tensor, codes: int, edges: Sequence[Tensor] = ()) -> Tensor:
    """The cell of each row of symbols, (n,): the first indices as a number, or a cell of a partition of the plane.

    Args:
        symbols: (n, *shape).
        codes: their number; 0 for real ones, of which the first two numbers count.
        edges: of real symbols, the borders of cells along each axis.
    """
    rows = symbols.flatten(1)
    if codes:
        rows = rows[:, : max(1, int(math.log(_MOST_CELLS) / math.log(max(2, codes))))]
        places = codes ** torch.arange(rows.shape[1] - 1, -1, -1)
        return (rows * places).sum(1)
    cell = torch.zeros(len(rows), dtype=torch.long)
    for column, borders in zip(rows.T, edges, strict=False):
        cell = cell * (len(borders) + 1) + torch.bucketize(column.contiguous(), borders)
    return cell


def edges_of(drawn: Tensor, grid: Sequence[Tensor] = ()) -> list[Tensor]:
    """Quantiles of the first two numbers of draws; with the axes of a grid, the midpoints of the grid next to them."""
    found = [row.quantile(torch.arange(1, _SIDE) / _SIDE) for row in drawn.flatten(1).T[:2]]
    for i, axis in enumerate(grid):
        middle = (axis[1:] + axis[:-1]) / 2
        found[i] = middle[(found[i][:, None] - middle).abs().argmin(1)].unique()
    return found


def far_from(counts: Tensor, shares: Tensor) -> bool:
    """Whether counts of cells differ from their probabilities by more than chance, by the chi-square statistic."""
    expected = shares.double() / shares.double().sum() * counts.sum()
    rare = expected < _FEWEST
    found = torch.cat([counts[~rare].double(), counts[rare].sum().double()[None]])
    wanted = torch.cat([expected[~rare], expected[rare].sum()[None]])
    if (
        float(wanted[-1]) < _FEWEST
    ):  # too few to be a cell: but a count where none is expected is not forgiven
        if float(found[-1]) > 4 * _FEWEST:
            return True
        found, wanted = found[:-1], wanted[:-1]
    statistic = float(((found - wanted).square() / wanted).sum())
    return _extreme(statistic, len(found) - 1)


def far_from_each_other(a: Tensor, b: Tensor) -> bool:
    """Whether two counts of the same cells, of equally many draws, differ by more than chance."""
    both = (a + b).double()
    common = both >= 2 * _FEWEST
    found = [torch.cat([t[common].double(), t[~common].sum().double()[None]]) for t in (a, b)]
    total = found[0] + found[1]
    kept = total > 0
    statistic = float(((found[0] - found[1]).square()[kept] / total[kept]).sum())
    return _extreme(statistic, int(kept.sum()) - 1)


def _extreme(statistic: float, degrees: int) -> bool:
    """Whether a chi-square statistic is beyond `_FAR` standard deviations, by Wilson and Hilferty's approximation."""
    if degrees < 1:
        return False
    spread = 2 / (9 * degrees)
    return ((statistic / degrees) ** (1 / 3) - (1 - spread)) / spread**0.5 > _FAR
