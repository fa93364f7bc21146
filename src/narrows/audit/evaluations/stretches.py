"""`stretches`: imputation of hidden stretches of series, and forecasts, by their length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from narrows.audit.evaluations.evaluation import Evaluation
from narrows.audit.evidence.imputation import impute
from narrows.audit.evidence.reseeds import reseed
from narrows.audit.evidence.view import View, device_of
from narrows.audit.metrics.crps import coverage, crps, gaussian_crps
from narrows.audit.report.finding import Check, Finding
from narrows.core import Batch
from narrows.core.check import whole

__all__ = ["Stretches"]

_LENGTHS = (1, 4, 16)
_LEVEL, _SEEDS = 0.9, 3


class Stretches(Evaluation):
    r"""How well hidden stretches of series are imputed and forecast, with their uncertainty.

    .. math:: \mathrm{CRPS} = E|X - x| - \tfrac12 E|X - X'|

    Of each example a stretch of 1, 4 or 16 steps without missing values is hidden, with steps before and after it
    (``inside``) or at the end (``end``, a forecast). X and X' are draws from the model's conditional distribution of a
    hidden value x given all values that are not hidden.

    Figures: `stretches/crps-inside-4` and others, in the units of the scaled data; `stretches/coverage-inside-4`, the
    share of hidden values in the interval that 90 % of the draws are in.

    Chance: a Gaussian with mean and deviation of each channel, over all observed values; of coverage, 0.9.

    Cost: one imputation for each length, place and seed.

    Misleads when: codes drawn for each example are too few for importance weights, as of long series: intervals inside
    series, and of windows, are then too narrow. A method without a posterior draws from p(x | z) of one code.

    Args:
        examples: largest number of examples.
        samples: codes drawn for each example.
        draws: draws of hidden values.

    Example:
        >>> Stretches(samples=50).samples
        50

    Reference:
        Gneiting and Raftery, Strictly Proper Scoring Rules, Prediction, and Estimation, 2007.
        doi:10.1198/016214506000001437
    """

    seconds: ClassVar[float] = 30

    def __init__(self, examples: int = 32, samples: int = 200, draws: int = 100) -> None:
        self.examples, self.samples = whole("examples", examples), whole("samples", samples)
        self.draws = whole("draws", draws, low=2)

    def lacks(self, view: View) -> str:
        """Data other than series, or a model of windows that had no missing values in training."""
        x = view.batch.x
        if not isinstance(x, Tensor) or x.dim() != 3 or "mask" not in view.batch.condition:
            return "It hides stretches of series."
        if not view.model.likelihood.any_length and "observed" not in view.batch.condition:
            return "The training data had no missing values, so that the encoder does not know them."
        if not self._hidden(view.batch[: self.examples], 1, "inside", 0).any():
            return "No example has three steps without missing values."
        return ""

    def __call__(self, view: View) -> Finding:
        """The score and the coverage of each length and place, means over seeds."""
        batch = view.batch[: self.examples]
        asked = [
            (place, length)
            for place in ("inside", "end")
            for length in _LENGTHS
            if self._hidden(batch, length, place, view.seed).any()
        ]
        found = reseed(lambda seed: self._measure(view, batch, asked, seed), view.seed, _SEEDS)
        checks = []
        for place, length in asked:
            name = f"{place}-{length}"
            what = f"{length} hidden step{'s' * (length > 1)} {'at the end' if place == 'end' else 'inside series'}"
            for figure, says, chance in (
                ("crps", f"Continuous ranked probability score of {what}.", found[f"chance-{name}"].mean),
                ("coverage", f"Share of the values of {what} in the interval of 90 % of the draws.", _LEVEL),
            ):
                one = found[f"{figure}-{name}"]
                checks.append(
                    Check(
                        f"stretches/{figure}-{name}",
                        one.mean,
                        "",
                        "info",
                        says,
                        chance,
                        one.spread,
                        len(batch),
                    )
                )
        return Finding(tuple(checks))

    def _hidden(self, batch: Batch, length: int, place: str, seed: int) -> Tensor:
        """The steps that are hidden, (B, T) bool: one stretch of each example that has one."""
        seen = _observed(batch).all(-1)
        steps = seen.sum(1)
        draw = torch.rand(seen.shape, generator=torch.Generator().manual_seed(seed))
        hidden = torch.zeros_like(seen)
        for row in range(len(seen)):
            if not steps[row]:
                continue
            end = int(seen[row].nonzero().max()) + 1
            starts = (
                range(1, end - length) if place == "inside" else range(max(1, end - length), end - length + 1)
            )
            free = [s for s in starts if bool(seen[row, s : s + length].all())]
            if free:
                start = free[int(draw[row, free].argmax())]
                hidden[row, start : start + length] = True
        return hidden

    def _measure(
        self, view: View, batch: Batch, asked: list[tuple[str, int]], seed: int
    ) -> Mapping[str, float]:
        x = batch.target.float()
        seen = _observed(batch)
        count = seen.sum((0, 1)).clamp_min(1)
        mean = torch.where(seen, x, 0).sum((0, 1)) / count
        deviation = (torch.where(seen, x - mean, 0).square().sum((0, 1)) / count).sqrt().clamp_min(1e-6)
        found = {}
        for place, length in asked:
            hidden = self._hidden(batch, length, place, seed)
            rows = hidden.any(1).nonzero().flatten()
            cells = hidden[rows].unsqueeze(-1).expand_as(x[rows])
            holed = _holed(batch[rows], hidden[rows]).to(device_of(view.model))
            drawn = impute(view.model, holed, self.samples, self.draws, seed).draws.cpu()[:, cells]
            truth = x[rows][cells]
            centre, width = (t.expand_as(x[rows])[cells] for t in (mean, deviation))
            name = f"{place}-{length}"
            found[f"crps-{name}"] = float(crps(drawn, truth).mean())
            found[f"coverage-{name}"] = coverage(drawn, truth, _LEVEL)
            found[f"chance-{name}"] = float(gaussian_crps(centre, width, truth).mean())
        return found


def _observed(batch: Batch) -> Tensor:
    """Which values are observed, (B, T, C)."""
    assert isinstance(batch.x, Tensor)
    there = batch.condition["mask"].unsqueeze(-1).expand_as(batch.x)
    return there & batch.condition["observed"] if "observed" in batch.condition else there


def _holed(batch: Batch, hidden: Tensor) -> Batch:
    """The batch without the hidden steps."""
    seen = _observed(batch) & ~hidden.unsqueeze(-1)
    x = torch.where(seen, batch.x, 0)
    return Batch(x, None, {**batch.condition, "observed": seen}, seen.to(x))
