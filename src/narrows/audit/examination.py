"""`audit`: run all checks on a model and collect their findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from narrows.audit.checks import CHECKS
from narrows.audit.evidence.view import NLL_SAMPLES, examine
from narrows.audit.report.finding import Check, Figure, Texts
from narrows.audit.report.report import Report
from narrows.core import Autoencoder, evaluation_mode, seeded
from narrows.core.check import whole

__all__ = ["audit"]


class Progress(Protocol):
    """Shows the progress of the work; `narrows.core.progress` has implementations."""

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """Begin a task of `total` steps."""

    def advance(self, done: int, metrics: Mapping[str, float] | None = None) -> None:
        """Report that `done` steps are finished."""


def audit(
    model: Autoencoder,
    dataset: Any,
    *,
    method: str = "",
    data_name: str = "",
    limit: int = 2048,
    seed: int = 0,
    progress: Progress | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    train: Any = None,
    text: Texts | None = None,
) -> Report:
    """Run all checks on a model.

    Two audits of the same model and data with the same seed are equal bit for bit. The model is not changed.

    Args:
        model: any autoencoder.
        dataset: the examples, preferably held-out ones: a `Dataset`, or a tensor or array of examples in the model's
            units.
        method: the method's name, for the report.
        data_name: the data's name, for the report.
        limit: largest number of examples.
        seed: of the choice of examples and of every draw.
        progress: shows the progress.
        history: the metrics records of the training, from which the audit dates a problem.
        train: the training examples; a code of real numbers is compared with PCA on them.
        text: of examples that are tokens, (n, T), what they say.

    Raises:
        RequestError: no examples, or examples of another shape than the model's.
    """
    seed, limit = whole("seed", seed, low=0), whole("limit", limit)
    steps = _AuditProgress(progress, len(CHECKS))
    view = examine(model, dataset, limit, seed, steps.chunk, history, train, text)
    checks: list[Check] = []
    figures: list[Figure] = []
    with evaluation_mode(model):
        for done, question in enumerate(CHECKS):
            with seeded(seed):
                found = question(view)
            checks.extend(found.checks)
            figures.extend(found.figures)
            steps.check(done + 1)
    parameters: dict[str, Any] = {
        "examples": len(view),
        "limit": limit,
        "seed": seed,
        "likelihood": type(model.likelihood).__name__,
        "shape": list(model.likelihood.shape),
    }
    if view.nll is not None:
        parameters |= {"nll_examples": len(view.nll), "nll_samples": NLL_SAMPLES}
    return Report(method, data_name, parameters, tuple(checks), tuple(figures))


class _AuditProgress:
    """Progress over chunks of data first, then over checks."""

    def __init__(self, progress: Progress | None, checks: int) -> None:
        self.progress, self.checks, self.chunks = progress, checks, 0

    def chunk(self, done: int, total: int) -> None:
        if self.progress is not None:
            if done == 1:
                self.chunks = total
                self.progress.begin("Auditing", total + self.checks)
            self.progress.advance(done)

    def check(self, done: int) -> None:
        if self.progress is not None:
            self.progress.advance(self.chunks + done)
