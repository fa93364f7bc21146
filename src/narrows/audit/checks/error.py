"""Reconstruction error: its mean, distribution and worst cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from narrows.audit.evidence.reseeds import spread, spread_of_parts
from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Check, Finding, distribution
from narrows.kernels.metrics import cosine, fvu

__all__ = ["per_example", "reconstruction_error"]

_TAIL = 10.0

_Spread: TypeAlias = Callable[[Callable[[Tensor], float], int, int], float | None]


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
    chart = distribution(
        "error",
        "Error of each example",
        "A long tail to the right means that some kinds of example are not represented.",
        "examples",
        error,
        "mean squared error",
    )
    return Finding((_unexplained(view), _cosine(view), *_tails(view, error)), (chart,))


def _tails(view: View, error: Tensor) -> tuple[Check, ...]:
    """Quantiles of the error over the examples, its maximum, and how long its tail is, if anything is wrong."""
    random = None if view.control is None else per_example(view, view.control.output)
    median, high = (float(error.quantile(q)) for q in (0.5, 0.99))
    seed = view.seed

    def found(check: Check, figure: Callable[[Tensor], float], over: _Spread = spread) -> Check:
        """The check with the figure of the random dictionary, its spread and the number of examples."""
        chance = None if random is None else figure(random)
        return replace(
            check, chance=chance, spread=over(lambda r: figure(error[r]), len(error), seed), n=len(error)
        )

    def at(quantile: float) -> Callable[[Tensor], float]:
        return lambda each: float(each.quantile(quantile))

    unit = "mean square"
    return (
        found(
            Check("error/median", median, unit, says="The squared error of half the examples is less."),
            at(0.5),
        ),
        found(
            Check("error/p99", high, unit, says="One example in a hundred is reconstructed worse than this."),
            at(0.99),
        ),
        found(
            Check("error/worst", float(error.max()), unit, says="The example that is reconstructed worst."),
            lambda each: float(each.max()),
            spread_of_parts,
        ),
        *([found(_tail(high, median), _ratio)] if high > 0 else []),
    )


def per_example(view: View, output: Tensor | None = None) -> Tensor:
    """The weighted mean squared error of each example, (N,) float64, of the view's outputs or of others."""
    target = view.batch.target
    squared = (target.double() - (view.output if output is None else output).double()).square()
    weight = torch.ones((), dtype=torch.double) if view.weight is None else view.weight.double()
    weight = weight.expand(squared.shape) if weight.ndim in (0, squared.ndim) else weight
    return (squared * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1e-12)


def _unexplained(view: View) -> Check:
    """FVU, that of the random dictionary, and its spread over redraws of the examples."""
    target, output = view.batch.target, view.output
    unexplained = fvu(target, output, view.weight)
    check = _free(unexplained) if view.forced is not None else _fvu_check(unexplained)
    weight = torch.ones((), dtype=torch.double) if view.weight is None else view.weight.double()
    truth = target.double()
    lost, whole = (
        ((truth - other.double()).square() * weight).flatten(1).sum(1) for other in (output, truth.mean(0))
    )
    over = spread(lambda rows: float(lost[rows].sum() / whole[rows].sum()), len(view), view.seed)
    chance = None if view.control is None else fvu(target, view.control.output, view.weight)
    return replace(check, chance=chance, spread=over, n=len(view))


def _cosine(view: View) -> Check:
    each = cosine(view.batch.target, view.output)
    return Check(
        "cosine",
        float(each.mean()),
        says="Mean cosine of an example and its reconstruction, neither of them centred.",
        chance=None if view.control is None else float(cosine(view.batch.target, view.control.output).mean()),
        spread=spread(lambda rows: float(each[rows].mean()), len(view), view.seed),
        n=len(view),
    )


def _accuracy(view: View) -> Check:
    right = (view.output == view.batch.target).double()
    weight = torch.ones_like(right) if view.weight is None else view.weight.double().expand(right.shape)
    hits, counts = (right * weight).flatten(1).sum(1), weight.flatten(1).sum(1)
    says = "The share of elements whose most probable class is the true one."
    over = spread(
        lambda rows: float(hits[rows].sum() / counts[rows].sum().clamp_min(1e-12)), len(view), view.seed
    )
    share = float((right * weight).sum() / weight.sum().clamp_min(1e-12))
    return Check("accuracy", share, "", "info", says, spread=over, n=len(view))


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


def _ratio(error: Tensor) -> float:
    """The 99th percentile over the median; 0 where the median is 0."""
    median, high = (float(error.quantile(q)) for q in (0.5, 0.99))
    return high / median if median > 0 else 0.0


def _tail(high: float, median: float) -> Check:
    ratio = high / median if median > 0 else float("inf")
    if ratio > _TAIL:
        says = "A few examples are reconstructed far worse than the rest. Look at the worst cases."
        return Check("error/tail", ratio, "times", "warn", says)
    return Check("error/tail", ratio, "times", "ok", "The 99th percentile of the error over its median.")
