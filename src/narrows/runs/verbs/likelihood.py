"""`likelihood`: log p(x) of data under a run's model, with its errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from narrows.audit.evidence.annealing import annealed, bracket, simulate, transitions
from narrows.audit.evidence.likelihood import importance_weights, rate_of
from narrows.audit.metrics.importance import Importance, pareto_limit
from narrows.core import Batch, Likelihood
from narrows.core.check import RequestError, choice, refuse, whole
from narrows.core.progress import Silent
from narrows.data import Dataset
from narrows.runs.verbs.reconstruct import check_decodes

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["ROWS", "Estimated", "check_density", "likelihood"]

Estimator = Literal["iwae", "ais"]

ROWS = {"iwae": 1000, "ais": 100}
"""The number of examples by default."""

_SAMPLES, _TEMPERATURES, _CHAINS = 1000, 500, 4
_AT_ONCE = {"iwae": 4096, "ais": 400}
"""Codes that are decoded at once."""


@dataclass(frozen=True)
class Estimated:
    """-log p(x) of N examples in nats, of scaled data.

    Args:
        estimator: ``iwae`` or ``ais``.
        samples: number of importance samples, or of chains, of each example.
        nll: the estimates, (N,).
        error: standard error of each, due to the draws, (N,); NaN for one sample.
        effective: effective sample size of each, (N,).
        pareto_k: of each, (N,); NaN with fewer than 25 samples.
        accepted: for ``ais`` the share of accepted proposals, (N,).
        lower: for simulated examples a lower bound of -log p(x) on average, by the reversed chain, (N,).
    """

    estimator: Estimator
    samples: int
    nll: np.ndarray
    error: np.ndarray
    effective: np.ndarray
    pareto_k: np.ndarray
    accepted: np.ndarray | None = None
    lower: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.nll)

    def columns(self) -> dict[str, np.ndarray]:
        """The figures of each example by name."""
        names = {"nll_nats": self.nll, "nll_error": self.error, "effective_samples": self.effective}
        found = {**names, "pareto_k": self.pareto_k}
        if self.accepted is not None:
            found["accepted"] = self.accepted
        if self.lower is not None:
            found["nll_lower_nats"] = self.lower
        return found

    def summary(self) -> dict[str, Any]:
        """The mean and what it can be trusted for.

        ``nll_nats`` is the mean; ``standard_error`` that over the examples, and ``estimate_error`` the part of it that
        is due to the draws. ``unreliable`` is the number of examples whose Pareto k is above `pareto_limit`.
        """
        n, known = len(self), np.isfinite(self.pareto_k)
        found: dict[str, Any] = {"estimator": self.estimator, "samples": self.samples, "rows": n}
        found["nll_nats"] = float(self.nll.mean())
        found["standard_error"] = float(self.nll.std(ddof=1) / math.sqrt(n)) if n > 1 else None
        found["estimate_error"] = float(np.sqrt(np.square(self.error).sum()) / n)
        found["effective_samples"] = float(self.effective.mean())
        if known.any():
            found["pareto_k"] = float(np.median(self.pareto_k[known]))
            found["unreliable"] = int((self.pareto_k[known] > pareto_limit(self.samples)).sum())
        if self.accepted is not None:
            found["accepted"] = float(self.accepted.mean())
        if self.lower is not None:
            found["nll_lower_nats"] = float(self.lower.mean())
            found["gap"] = found["nll_nats"] - found["nll_lower_nats"]
        return found


def likelihood(
    run: Run,
    data: Any = None,
    *,
    estimator: Estimator = "iwae",
    samples: int | None = None,
    temperatures: int | None = None,
    chains: int | None = None,
    limit: int | None = None,
    simulated: bool = False,
    seed: int = 0,
    progress: Silent | None = None,
) -> Estimated:
    """-log p(x) of the first examples, with standard errors, effective sample sizes and Pareto k.

    Args:
        run: a run of a method with a posterior, a prior and a likelihood in nats.
        data: the data; the test split of the run if None.
        estimator: ``iwae``, importance sampling from the posterior; ``ais``, annealed importance sampling from the
            prior, which does not depend on the posterior.
        samples: for ``iwae`` the number of codes of each example, 1000 by default.
        temperatures: for ``ais`` the number of distributions between prior and posterior, 500 by default.
        chains: for ``ais`` the number of chains of each example, 4 by default.
        limit: number of examples, by default 1000 for ``iwae`` and 100 for ``ais``.
        simulated: for ``ais``, score as many examples drawn from the model, whose likelihood is bounded from both
            sides: the gap is the largest error of the estimate.
        seed: of all draws.
        progress: a `narrows.core.progress.Progress`, or None.

    Raises:
        RequestError: the model has no likelihood, or no prior that the estimator needs; an option of another estimator.
    """
    choice("estimator", estimator, ("iwae", "ais"))
    check_decodes(run)
    check_density(run.model.likelihood)
    own = {"samples": "iwae", "temperatures": "ais", "chains": "ais", "simulated": "ais"}
    given = {
        "samples": samples,
        "temperatures": temperatures,
        "chains": chains,
        "simulated": simulated or None,
    }
    for name, value in given.items():
        if value is not None and own[name] != estimator:
            raise refuse(name, value, "left out", f"It is an option of ``estimator={own[name]!r}``.")
    examples = run.dataset(data)
    count = min(len(examples), ROWS[estimator] if limit is None else whole("limit", limit))
    how = _How(
        estimator,
        whole("samples", _SAMPLES if samples is None else samples),
        whole("temperatures", _TEMPERATURES if temperatures is None else temperatures, low=2),
        whole("chains", _CHAINS if chains is None else chains),
        simulated,
        whole("seed", seed, low=0),
    )
    return how.estimate(run, examples, count, Silent() if progress is None else progress)


def check_density(likelihood: Likelihood) -> None:
    """Check that log p(x | z) is in nats.

    Raises:
        RequestError: its unit is another, so that p(x) is not defined.
    """
    if likelihood.unit != "nats":
        raise RequestError(
            f"This model has no likelihood: the distortion of `{type(likelihood).__name__}` is a {likelihood.unit}, "
            "which is no -log p(x | z). Fit it with a density, such as ``likelihood='gaussian'``, or score it without "
            "``estimator``."
        )


@dataclass(frozen=True)
class _How:
    estimator: Estimator
    samples: int
    temperatures: int
    chains: int
    simulated: bool
    seed: int

    def estimate(self, run: Run, examples: Dataset, count: int, progress: Silent) -> Estimated:
        """The figures of the first `count` examples, a few at a time."""
        each = self.samples if self.estimator == "iwae" else self.chains
        size = max(1, min(128, _AT_ONCE[self.estimator] // min(each, 64)))
        starts = range(0, count, size)
        inner = 1 if self.estimator == "iwae" else transitions(self.temperatures, self.simulated)
        progress.begin("Scoring", len(starts) * inner, what="batches" if inner == 1 else "transitions")
        parts: list[Estimated] = []
        for number, first in enumerate(starts):
            batch = examples.batch(slice(first, min(first + size, count)), run.model.conditions)
            seed = int(np.random.SeedSequence((self.seed, first)).generate_state(1)[0])
            advance = lambda done, before=number * inner: progress.advance(before + done)  # noqa: E731
            parts.append(self._one(run, batch, seed, advance))
            progress.advance((number + 1) * inner)
        return _joined(parts)

    def _one(self, run: Run, batch: Batch, seed: int, advance: Any) -> Estimated:
        model = run.model
        if self.estimator == "iwae":
            with torch.no_grad():
                rate_of(model(batch[slice(0, 1)]))
            chunk = max(1, _AT_ONCE["iwae"] // len(batch))
            weights = importance_weights(model, batch, self.samples, seed, chunk)
            return _figures("iwae", Importance(weights.double().cpu()))
        how: dict[str, Any] = {"chains": self.chains, "temperatures": self.temperatures, "seed": seed}
        if not self.simulated:
            found = annealed(model, batch, **how, advance=advance)
            return _figures("ais", found.weights, found.accepted.numpy())
        drawn, codes = simulate(model, batch, seed + 1)
        low, high = bracket(model, drawn, codes, **how, advance=advance)
        accepted = (low.accepted + high.accepted).numpy() / 2
        return _figures("ais", low.weights, accepted, -high.weights.log_p.numpy())


def _figures(
    estimator: Estimator,
    weights: Importance,
    accepted: np.ndarray | None = None,
    lower: np.ndarray | None = None,
) -> Estimated:
    return Estimated(
        estimator,
        weights.samples,
        -weights.log_p.numpy(),
        weights.error.numpy(),
        weights.effective.numpy(),
        weights.pareto_k.numpy(),
        accepted,
        lower,
    )


def _joined(parts: list[Estimated]) -> Estimated:
    first = parts[0]
    names = [name for name, value in vars(first).items() if isinstance(value, np.ndarray)]
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Estimated(**{**vars(first), **joined})
