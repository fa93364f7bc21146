"""Cost beside quality: what a run's reconstructions and samples cost, and how good they are."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from narrows.audit.evidence.cost import Spent, flops, spent
from narrows.audit.evidence.reseeds import spread
from narrows.audit.metrics.frechet import Features, classifier_features, frechet, principal_features
from narrows.audit.report.finding import Check, not_measured
from narrows.core import Batch, seeded
from narrows.core.check import NarrowsError
from narrows.runs.run import Run
from narrows.runs.verbs.sample import labels

__all__ = ["Costs"]

_ROWS, _TRAIN, _TIMED, _REPEATS = 2000, 20_000, 500, 3
_CHUNK = 500


class Costs:
    """Measures the cost and the quality of runs; runs on the same data share the features of the Frechet distance."""

    def __init__(self) -> None:
        self._features: dict[tuple[str, str], Features] = {}

    @torch.no_grad()
    def __call__(self, run: Run) -> tuple[Check, ...]:
        """The checks ``compute/...`` and ``quality/...`` of a run.

        Args:
            run: a run on arrays; of other kinds of data only the parameters are counted.
        """
        checks = [
            Check("compute/parameters", float(run.parameters), says="Parameters of the model.", spread=0.0),
            *_training(run),
        ]
        if run.recipe.spec.kind != "array":
            return (*checks, not_measured("compute/flops", "It is measured for arrays alone."))
        test = run.data.test.take(min(_ROWS, len(run.data.test))).batch(slice(None), run.model.conditions)
        reconstruct = _Work(lambda n: run.model.reconstruct(test[slice(0, n)]))
        checks += [*reconstruct.checks("reconstruct", "a reconstruction", len(test)), *_error(run, test)]
        try:
            run.model.sample(1, labels(run, 1, None))
        except NarrowsError as error:
            return (*checks, not_measured("compute/sample-flops", f"It cannot be sampled: {error}"))
        sample = _Work(lambda n: run.model.sample(n, labels(run, n, None)))
        return (*checks, *sample.checks("sample", "a sample", len(test)), self._frechet(run, test))

    def _frechet(self, run: Run, test: Batch) -> Check:
        look = self._look(run)
        n = len(test)
        with seeded(0):
            parts = [
                run.model.sample(len(c), labels(run, len(c), None)) for c in torch.arange(n).split(_CHUNK)
            ]
        made, real = look(torch.cat(parts)), look(test.x)
        return Check(
            "quality/frechet",
            frechet(made, real),
            says=f"Frechet distance of {n} samples from test examples, on features of these data.",
            spread=spread(lambda rows: frechet(made[rows], real[rows]), n, 0),
            n=n,
        )

    def _look(self, run: Run) -> Features:
        key = run.recipe.fingerprint, json.dumps(run.recipe.data, sort_keys=True)
        if key not in self._features:
            train = run.data.train
            rows = min(_TRAIN, len(train))
            x, classes = train.batch(slice(0, rows)).x, train.labels
            with torch.enable_grad():
                self._features[key] = (
                    principal_features(x) if classes is None else classifier_features(x, classes[:rows])
                )
        return self._features[key]


class _Work:
    """Work on n examples, and what it costs."""

    def __init__(self, of: Callable[[int], Any]) -> None:
        self.of = of

    def checks(self, name: str, what: str, most: int) -> list[Check]:
        n = min(_TIMED, most)
        with seeded(0):
            count = flops(lambda: self.of(1))
            self.of(n)  # memory and caches are ready
            measured = [spent(lambda: self.of(n)) for _ in range(_REPEATS)]
        per = 1000 / n
        seconds = [one.seconds * per for one in measured]
        return [
            Check(
                f"compute/{name}-flops",
                float(count),
                says=f"Operations of products, convolutions and attention for {what}.",
                spread=0.0,
            ),
            Check(
                f"compute/{name}-seconds",
                statistics.median(seconds),
                "CPU s per 1000",
                says=f"Processor seconds of this machine, median of {_REPEATS}.",
                spread=statistics.stdev(seconds),
                n=n,
            ),
            _energy(f"compute/{name}-joules", measured, per, n),
        ]


def _energy(name: str, measured: list[Spent], per: float, n: int) -> Check:
    found = [one.joules * per for one in measured if one.joules is not None]
    if len(found) < len(measured):
        return not_measured(name, "This system has no energy counter that may be read (/sys/class/powercap).")
    says = "Energy of the processor, with all that ran beside."
    return Check(
        name, statistics.median(found), "J per 1000", "info", says, spread=statistics.stdev(found), n=n
    )


def _error(run: Run, test: Batch) -> list[Check]:
    x, target = run.model.reconstruct(test), test.target
    if not isinstance(target, Tensor) or x.shape != target.shape or not target.is_floating_point():
        return [not_measured("quality/mse", "Reconstructions are not of the shape of the examples.")]
    each = (x - target).square().flatten(1).mean(1)
    return [
        Check(
            "quality/mse",
            float(each.double().mean()),
            says="Mean squared error of an element of a test example.",
            spread=spread(lambda rows: float(each[rows].mean()), len(each), 0),
            n=len(each),
        )
    ]


def _training(run: Run) -> list[Check]:
    """The seconds of the training, which the run has recorded."""
    try:
        seconds = float(json.loads((run.path / "result.json").read_text())["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [
        Check(
            "compute/training-seconds",
            seconds,
            "s",
            says="Seconds on the clock, on the machine that trained it.",
        )
    ]
