"""`audit`: run all checks on a model and collect their findings."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from narrows.audit.checks import CHECKS
from narrows.audit.evaluations.requests import Evaluations, Request, read_budget, requested
from narrows.audit.evaluations.running import evaluate
from narrows.audit.evidence.passing import COUNTED, SEARCHED, Streamed, stream
from narrows.audit.evidence.view import NLL_SAMPLES, View, as_examples, examine
from narrows.audit.report.finding import Check, Figure, Texts
from narrows.audit.report.report import Report
from narrows.core import Autoencoder, Batch, Sparse, evaluation_mode, seeded, tree_map
from narrows.core.check import refuse, whole
from narrows.core.progress import Silent

__all__ = ["audit"]

EXAMPLES = 2048
"""Default number of examples of all checks but the counts of latents."""


def audit(
    model: Autoencoder,
    dataset: Any,
    *,
    method: str = "",
    data_name: str = "",
    limit: int | None = None,
    seed: int = 0,
    progress: Silent | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    train: Any = None,
    text: Texts | None = None,
    evaluations: Evaluations = (),
    budget: float | str | None = None,
) -> Report:
    """Run all checks on a model, then the requested evaluations.

    Two audits of the same model and data with the same seed are equal bit for bit, but for the measured seconds and for
    what a budget left out. The model is not changed.

    Args:
        model: any autoencoder.
        dataset: the examples, preferably held-out ones: a `Dataset`, or a tensor or array of examples in the model's
            units.
        method: the method's name, for the report.
        data_name: the data's name, for the report.
        limit: largest number of examples. By default 2,048, and the latents of a sparse code are counted on 200,000: on
            the data, and if there are fewer, on the training examples.
        seed: of the choice of examples and of every draw.
        progress: shows the progress.
        history: the metrics records of the training, from which the audit dates a problem.
        train: the training examples; a code of real numbers is compared with PCA on them.
        text: of examples that are tokens, (n, T), what they say.
        evaluations: figures that are measured on request, see `narrows.audit.evaluations`: ``all``, a text such as
            ``probing:k=5,splice``, or a list. Those that do not apply to the model and the data are reported as not
            measured.
        budget: the time of all evaluations, in seconds or as ``5m`` or ``90s``. The cheapest come first; those left out
            are named by the check ``evaluations/left-out``.

    Raises:
        RequestError: no examples, or examples of another shape than the model's; an unknown evaluation or option; a
            budget that is no time, or without evaluations.
    """
    seed, most = whole("seed", seed, low=0), EXAMPLES if limit is None else whole("limit", limit)
    requests = requested(evaluations) if evaluations or evaluations == "" else []
    if budget is not None and not requests:
        raise refuse("budget", budget, "left out", "It is the time of ``evaluations``, and none is given.")
    allowed = None if budget is None else read_budget(budget)
    progress = progress if progress is not None else Silent()
    started = time.monotonic()
    steps = _AuditProgress(progress, len(CHECKS))
    train = None if train is None else as_examples(train)
    view = examine(model, dataset, most, seed, steps.chunk, history, train, text)
    checks: list[Check] = []
    figures: list[Figure] = []
    seconds = {"examples": time.monotonic() - started}
    started = time.monotonic()
    view, streamed = _counted(view, limit, progress)
    if streamed is not None:
        seconds["counts"] = time.monotonic() - started
        steps.again()
    with evaluation_mode(model):
        for done, question in enumerate(CHECKS):
            started = time.monotonic()
            with seeded(seed):
                found = question(view)
            checks.extend(found.checks)
            figures.extend(found.figures)
            seconds[question.__name__] = time.monotonic() - started
            steps.check(done + 1)
    evaluated = evaluate(view, requests, allowed, progress)
    checks.extend(evaluated.checks)
    figures.extend(evaluated.figures)
    for name, took in evaluated.seconds.items():  # an evaluation may have the name of a check
        seconds[name] = seconds.get(name, 0.0) + took
    parameters = _parameters(view, most, requests)
    return Report(method, data_name, parameters, tuple(checks), tuple(figures), seconds, streamed)


def _counted(view: View, limit: int | None, progress: Silent) -> tuple[View, Streamed | None]:
    """The evidence with counts of the latents of a sparse code on many examples, and the pass that counted them."""
    z = view.sparse
    if z is None or view.dataset is None:
        return view, None
    values, width = (z.values, z.width) if isinstance(z, Sparse) else (z, z.shape[-1])
    sizes = (
        {"counted": COUNTED, "searched": SEARCHED} if limit is None else {"counted": limit, "searched": limit}
    )
    if values.ndim != 2:
        sizes["searched"] = 0
    begun = False

    def advance(done: int, total: int) -> None:
        nonlocal begun
        if not begun:
            progress.begin("Counting latents", total, what="rows")
        begun = True
        progress.advance(done)

    with evaluation_mode(view.model), seeded(view.seed):
        found = stream(view.model, view.dataset, width, view.train, **sizes, seed=view.seed, advance=advance)
    return replace(view, counts=found.counts), found


def _parameters(view: View, limit: int, requests: Sequence[Request]) -> dict[str, Any]:
    """The audit's arguments and the numbers of examples, for the report."""
    likelihood = view.model.likelihood
    found: dict[str, Any] = {"examples": len(view), "limit": limit, "seed": view.seed}
    found |= {"likelihood": type(likelihood).__name__, "shape": list(likelihood.shape)}
    found["sha256"] = _digest(view.batch)
    if view.counts is not None:
        found["counted"] = view.counted
    if view.importance is not None:
        found |= {"nll_examples": len(view.importance.log_p), "nll_samples": NLL_SAMPLES}
    if requests:
        found["evaluations"] = [request.text for request in requests]
    return found


def _digest(batch: Batch) -> str:
    """A hash of inputs and targets, by which audits of the same examples are recognised."""
    digest = hashlib.sha256()

    def add(value: Tensor) -> Tensor:
        digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return value

    tree_map(add, batch.x)
    tree_map(add, batch.target)
    return digest.hexdigest()


class _AuditProgress:
    """Progress over chunks of data first, then over checks."""

    def __init__(self, progress: Silent, checks: int) -> None:
        self.progress, self.checks, self.chunks = progress, checks, 0

    def chunk(self, done: int, total: int) -> None:
        if done == 1:
            self.chunks = total
            self.progress.begin("Auditing", total + self.checks)
        self.progress.advance(done)

    def again(self) -> None:
        """Show the same bar again after another one."""
        self.progress.begin("Auditing", self.chunks + self.checks, self.chunks)

    def check(self, done: int) -> None:
        self.progress.advance(self.chunks + done)
