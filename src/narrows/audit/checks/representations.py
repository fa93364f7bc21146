"""Mean and sampled codes: how much more the latents of the means depend on each other, and through which latents."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from narrows.audit.evidence.reseeds import spread
from narrows.audit.evidence.view import View
from narrows.audit.metrics.dependence import gaussian_total_correlation, mean_correlation
from narrows.audit.metrics.usage import PASSIVE, regimes
from narrows.audit.report.finding import Check, Finding

__all__ = ["mean_and_sampled"]

_GAP = 0.05
"""A gap of mean absolute correlations that asks for attention."""


def mean_and_sampled(view: View) -> Finding:
    """The gap between posterior means and draws in correlation and total correlation, with and without passive latents.

    Draws of a passive latent are noise, but its mean may follow the other latents, however little it varies.

    Reference:
        Bonheme, Grzes, Be More Active! Understanding the Differences between Mean and Sampled Representations of
        Variational Autoencoders (2023), arXiv 2109.12679.
    """
    found = view.posterior
    if found is None or found.ratio is None or view.drawn is None or view.rows < 3:
        return Finding()
    mean, drawn = found.mean, view.drawn.flatten(1)
    if drawn.shape != mean.shape or mean.shape[1] < 2:
        return Finding()
    used = regimes(found.ratio) != PASSIVE
    checks: list[Check] = []
    for name, unit, of in _MEASURES:
        gap = of(mean) - of(drawn)
        less = of(mean[:, used]) - of(drawn[:, used]) if int(used.sum()) > 1 else 0.0
        far = name == "correlation-gap" and gap > _GAP and abs(less) < 0.5 * gap
        says = f"{of(mean):.3g} between posterior means less {of(drawn):.3g} between draws of the posterior."
        if far:
            says += " Passive latents cause it: leave them out downstream (narrows encode --drop passive)."
        checks.append(
            Check(
                name,
                gap,
                unit,
                "warn" if far else "info",
                says,
                spread=spread(_again(of, mean, drawn), len(mean), view.seed),
                n=len(mean),
            )
        )
        checks.append(
            Check(
                f"{name}/used",
                less,
                unit,
                "info",
                f"The same without the {int((~used).sum())} passive latents.",
                spread=spread(_again(of, mean[:, used], drawn[:, used]), len(mean), view.seed),
                n=len(mean),
            )
        )
    return Finding(tuple(checks))


def _again(of: Callable[[Tensor], float], mean: Tensor, drawn: Tensor) -> Callable[[Tensor], float]:
    """The gap on other rows."""
    return lambda rows: of(mean[rows]) - of(drawn[rows]) if mean.shape[1] > 1 else 0.0


_MEASURES: tuple[tuple[str, str, Callable[[Tensor], float]], ...] = (
    ("correlation-gap", "", mean_correlation),
    ("total-correlation-gap", "nats", gaussian_total_correlation),
)
