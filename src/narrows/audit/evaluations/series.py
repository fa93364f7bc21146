"""`series`: generated windows of series against real ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from narrows.audit.evaluations.evaluation import Evaluation
from narrows.audit.evidence.reseeds import Reseeded, reseed
from narrows.audit.evidence.view import View, device_of
from narrows.audit.metrics.generation import nearest_distances
from narrows.audit.metrics.series_judges import PUBLISHED, Judge, apart
from narrows.audit.metrics.series_scores import series_scores
from narrows.audit.report.finding import Check, Finding
from narrows.core import Batch
from narrows.core.check import NarrowsError, refuse, whole
from narrows.data.dataset import Examples, known_of

__all__ = ["SeriesScores"]

_LEAST, _KNOWN, _CHUNK, _CLOSE = 100, 20_000, 256, 0.01
_SAYS = {
    "discriminative": "|accuracy - 1/2| of a recurrent net that tells samples from real windows.",
    "predictive": "Mean absolute error, on real windows, of a recurrent net that learned to predict from samples.",
    "autocorrelation": "Mean absolute difference of autocorrelations over lags and channels.",
    "spectrum": "Half the summed difference of the shares of power by frequency.",
    "correlation": "Mean absolute difference of the correlations between channels.",
    "wasserstein": "Wasserstein distance of single values, in standard deviations of the real ones.",
}


class SeriesScores(Evaluation):
    r"""How near generated windows of series are to real ones, in time, over channels and to a judge.

    .. math:: \mathrm{discriminative} = |\mathrm{accuracy} - 1/2|,\qquad
              \mathrm{predictive} = \frac{1}{N (T - 1)} \sum_{n, t} |x_{n,t+1,C} - \hat x(x_{n,\le t})|

    Real windows are complete training windows. They are divided in two parts that share no step, in blocks of
    consecutive windows. The judge of the first score is trained on real and generated windows, and its accuracy is that
    on others; the predictor of the second is trained on generated windows, and its error is that on real ones, of the
    last channel one step ahead, from the other channels (of one channel, from itself), which are scaled to (0, 1).

    Figures: `series/discriminative` and `series/predictive`; `series/autocorrelation`, `series/spectrum`,
    `series/correlation` and `series/wasserstein`, distances of samples from real windows; `series/copies`, the share of
    samples that are nearer to a training window than 99 % of held-out windows are.

    Chance: one part of the real windows in place of the samples, against the other; of copies, 0.01.

    Cost: four recurrent nets for each seed.

    Misleads when: there are few windows: of n test windows of one distribution the discriminative score is about
    :math:`0.4 / \sqrt{n}`. A series that drifts differs between blocks. Samples of an autoregressive likelihood are
    drawn, those of others are means without the noise of p(x | z), which a judge may see; ``draw=yes`` draws them.

    Args:
        examples: largest number of real windows, evenly spaced, and of samples.
        seeds: number of evaluations.
        steps: training steps of each recurrent net.
        draw: draw samples from p(x | z).
        published: the protocol of TimeGAN: 2000 and 5000 steps, a state of half the number of channels, and real
            windows that are shuffled before they are divided, so that overlapping ones are on both sides.

    Example:
        >>> SeriesScores(examples=500).examples
        500

    Reference:
        Yoon, Jarrett, van der Schaar, Time-series Generative Adversarial Networks, NeurIPS 2019.
    """

    seconds: ClassVar[float] = 40

    def __init__(
        self,
        examples: int = 1000,
        seeds: int = 3,
        steps: int = 300,
        draw: bool = False,
        published: bool = False,
    ) -> None:
        self.examples, self.seeds = whole("examples", examples, low=_LEAST), whole("seeds", seeds, low=2)
        if published and steps != 300:
            raise refuse("steps", steps, "left out with ``published``")
        self.judge = PUBLISHED if published else Judge(steps=steps, predicting=steps)
        self.draw = draw

    def lacks(self, view: View) -> str:
        """Data other than windows, few complete ones, other conditions than masks and times, or no samples."""
        x = view.batch.x
        if not isinstance(x, Tensor) or x.dim() != 3 or x.shape != getattr(view.batch.target, "shape", None):
            return "It compares windows of series, (T, C)."
        if view.train is None:
            return "Samples are compared with training windows, which are not given."
        if view.model.all_conditions:
            return f"Samples need the conditions {', '.join(view.model.all_conditions)}."
        if self.judge.halved and x.shape[2] < 2:
            return "The published judge has half as many units as channels, of which there is one."
        try:
            made = self._sample(view, 2, x.shape[1])
        except NarrowsError as error:
            return f"It cannot be sampled: {error}"
        if made.shape[1:] != x.shape[1:]:
            return f"Samples are of shape {tuple(made.shape[1:])}, windows of {tuple(x.shape[1:])}."
        if len(_complete(view.train, self.examples)[0]) < _LEAST:
            return f"There are fewer than {_LEAST} complete training windows."
        return ""

    def __call__(self, view: View) -> Finding:
        """All figures, each a mean over seeds."""
        assert view.train is not None
        real, places, times = _complete(view.train, self.examples)
        fresh, known = _whole(view.batch), _complete(view.train, _KNOWN)[0]
        found = reseed(
            lambda seed: self._measure(view, (real, known, fresh), places, times, seed), view.seed, self.seeds
        )
        unit = f"N {len(real)}" + (", published" if self.judge.halved else "")
        checks = []
        for name, says in _SAYS.items():
            if name in found:
                chance = found[f"{name}-floor"].mean
                what = f"{says} Of real windows that share no step it is {chance:.3g}."
                one = found[name]
                checks.append(
                    Check(f"series/{name}", one.mean, unit, "info", what, chance, one.spread, len(real))
                )
        return Finding((*checks, *_copies(found, len(fresh))))

    def _measure(
        self,
        view: View,
        windows: tuple[Tensor, Tensor, Tensor],
        places: Tensor | None,
        times: Tensor | None,
        seed: int,
    ) -> Mapping[str, float]:
        """The figures, from the real windows that are compared, all training windows, and held-out ones."""
        real, known, fresh = windows
        made = self._sample(view, len(real), real.shape[1], times)
        if places is None:
            order = torch.randperm(len(real))
            first, second = order.tensor_split(2)
        else:
            first, second = apart(places, real.shape[1], 0.5, seed, blocks=min(40, len(real) // 10))
        one, other = real[first], real[second]
        of_other = None if places is None else places[second]
        found = series_scores(real, made, places, predicted=other, judge=self.judge, seed=seed)
        floor = series_scores(other, one, of_other, judge=self.judge, seed=seed)
        found |= {f"{name}-floor": value for name, value in floor.items()}
        if len(fresh):
            least = nearest_distances(fresh, known.flatten(1))[0].quantile(_CLOSE)
            found["copies"] = float((nearest_distances(made, known.flatten(1))[0] < least).double().mean())
        return found

    @torch.no_grad()
    def _sample(self, view: View, n: int, length: int, times: Tensor | None = None) -> Tensor:
        """n windows (n, T, C), at the times of real ones if there are any."""
        model, made = view.model, []
        for first in range(0, n, _CHUNK):
            count = min(_CHUNK, n - first)
            mask = torch.ones(count, length, dtype=torch.bool, device=device_of(model))
            told = {"mask": mask} if model.likelihood.any_length else {}
            if times is not None:
                told["times"] = times[first : first + count].to(mask.device)
            drawn: Any = model.sample(count, told, draw=self.draw or model.likelihood.autoregressive)
            if not isinstance(drawn, Tensor):
                raise refuse("model", type(model).__name__, "a model whose samples are arrays")
            made.append(drawn.cpu().float())
        return torch.cat(made)


def _complete(examples: Examples, most: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Complete windows, evenly spaced; the series and first step of each, and its times, if they are known."""
    rows = torch.arange(0, len(examples), -(-len(examples) // most))
    batch = examples.batch(rows)
    kept = _whole_rows(batch)
    columns = [known_of(examples).columns.get(name) for name in ("series", "step")]
    stores = [store[rows][kept].long() for store in columns if isinstance(store, Tensor)]
    places = torch.stack(stores, 1) if len(stores) == 2 else None
    assert isinstance(batch.x, Tensor)
    times = batch.condition["times"][kept].cpu() if "times" in batch.condition else None
    return batch.x[kept].cpu().float(), places, times


def _whole(batch: Batch) -> Tensor:
    """The complete windows of a batch."""
    assert isinstance(batch.x, Tensor)
    return batch.x[_whole_rows(batch)].cpu().float()


def _whole_rows(batch: Batch) -> Tensor:
    """Which windows of a batch are complete, (B,) bool."""
    if batch.weight is None:
        return torch.ones(len(batch), dtype=torch.bool)
    return (batch.weight != 0).flatten(1).all(1)


def _copies(found: Mapping[str, Reseeded], n: int) -> list[Check]:
    if "copies" not in found:
        return []
    one = found["copies"]
    says = "Share of samples nearer to a training window than 99 % of held-out windows are."
    verdict = "warn" if one.mean > 10 * _CLOSE else "ok"
    if verdict == "warn":
        says += " Samples may be copies, or simpler than the data."
    return [Check("series/copies", one.mean, "", verdict, says, _CLOSE, one.spread, n)]  # type: ignore[arg-type]
