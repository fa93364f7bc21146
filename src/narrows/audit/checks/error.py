"""Reconstruction error: its mean, distribution and worst cases."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Check, Finding, distribution
from narrows.kernels.metrics import cosine, fvu

__all__ = ["per_example", "reconstruction_error"]

_TAIL = 10.0


def reconstruction_error(view: View) -> Finding:
    """FVU, the distribution of the error over examples, and its tail."""
    target, output = view.batch.target, view.output
    if not isinstance(target, Tensor) or not isinstance(output, Tensor) or target.shape != output.shape:
        return Finding()  # modalities and edges have checks of their own
    if view.mixed:
        return Finding()  # tables too
    if view.model.likelihood.discrete:
        return Finding(() if view.forced is not None else (_accuracy(view),))
    error = per_example(view)
    unexplained = fvu(view.batch.target, view.output, view.weight)
    median, high, worst = (float(error.quantile(q)) for q in (0.5, 0.99, 1.0))
    checks = (
        _free(unexplained) if view.forced is not None else _fvu_check(unexplained),
        Check(
            "cosine",
            float(cosine(view.batch.target, view.output).mean()),
            says="Mean cosine of an example and its reconstruction, neither of them centred.",
        ),
        Check("error/median", median, "mean square", says="The squared error of half the examples is less."),
        Check(
            "error/p99",
            high,
            "mean square",
            says="One example in a hundred is reconstructed worse than this.",
        ),
        Check("error/worst", worst, "mean square", says="The example that is reconstructed worst."),
        _tail(high, median),
    )
    chart = distribution(
        "error",
        "Error of each example",
        "A long tail to the right means that some kinds of example are not represented.",
        "examples",
        error,
        "mean squared error",
    )
    return Finding(checks, (chart,))


def per_example(view: View) -> Tensor:
    """The weighted mean squared error of each example, (N,) float64."""
    target = view.batch.target
    squared = (target.double() - view.output.double()).square()
    weight = torch.ones((), dtype=torch.double) if view.weight is None else view.weight.double()
    weight = weight.expand(squared.shape) if weight.ndim in (0, squared.ndim) else weight
    return (squared * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1e-12)


def _accuracy(view: View) -> Check:
    right = (view.output == view.batch.target).double()
    weight = torch.ones_like(right) if view.weight is None else view.weight.double().expand(right.shape)
    share = float((right * weight).sum() / weight.sum().clamp_min(1e-12))
    return Check(
        "accuracy", share, "", "info", "The share of elements whose most probable class is the true one."
    )


def _free(unexplained: float) -> Check:
    says = f"{100 * (1 - unexplained):.1f} % of the variance is explained by free-running reconstructions."
    return Check("fvu", unexplained, "", "info", says)


def _fvu_check(unexplained: float) -> Check:
    if unexplained >= 1:
        return Check(
            "fvu",
            unexplained,
            "",
            "bad",
            "Reconstructions are no better than the mean of the data. Train longer, try another learning rate, "
            "or lower the weights of the costs.",
        )
    explained = f"{100 * (1 - unexplained):.1f} % of the variance is explained."
    if unexplained > 0.5:
        return Check("fvu", unexplained, "", "warn", f"Only {explained} More capacity or training may help.")
    return Check("fvu", unexplained, "", "ok", explained)


def _tail(high: float, median: float) -> Check:
    ratio = high / median if median > 0 else float("inf" if high > 0 else "nan")
    if ratio > _TAIL:
        says = "A few examples are reconstructed far worse than the rest. Look at the worst cases."
        return Check("error/tail", ratio, "times", "warn", says)
    return Check("error/tail", ratio, "times", "ok", "The 99th percentile of the error over its median.")
