"""`audit`: the same questions to every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from narrows.audit.checks import CHECKS
from narrows.audit.evidence.view import NLL_SAMPLES, at_rest, examine
from narrows.audit.report.finding import Check, Figure
from narrows.audit.report.report import Report
from narrows.core import Autoencoder, seeded
from narrows.core.check import whole

__all__ = ["audit"]


class Progress(Protocol):
    """Who is told how far the work is: `narrows.core.progress` has them."""

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """A piece of work of `total` steps begins."""

    def advance(self, done: int, metrics: Mapping[str, float] | None = None) -> None:
        """`done` steps are made."""


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
) -> Report:
    """Ask a model everything that we know to ask.

    Two audits of the same model and data with the same seed are equal to the last bit, and leave the model as it
    was.

    Args:
        model: any autoencoder.
        dataset: what it is examined on, unseen data by preference: a `Dataset`, or a tensor or array of examples
            as the model sees them.
        method: the method's name, for the report.
        data_name: the data's name, for the report.
        limit: how many examples to look at, at most.
        seed: of the choice of examples and of every draw.
        progress: who is told how far the work is.
        history: the metrics records of the training, by which the audit says since when something is wrong.
        train: the examples that the model was trained on; a code of real numbers is compared with PCA on them.

    Raises:
        RequestError: no examples, or examples that the model was not built for.
    """
    seed, limit = whole("seed", seed, low=0), whole("limit", limit)
    told = _Told(progress, len(CHECKS))
    view = examine(model, dataset, limit, seed, told.chunk, history, train)
    checks: list[Check] = []
    figures: list[Figure] = []
    with at_rest(model):
        for done, ask in enumerate(CHECKS):
            with seeded(seed):
                found = ask(view)
            checks.extend(found.checks)
            figures.extend(found.figures)
            told.check(done + 1)
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


class _Told:
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
