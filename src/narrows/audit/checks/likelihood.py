"""The importance-weighted likelihood, how far it can be trusted, and its gap to the bound."""

from __future__ import annotations

from torch import Tensor

from narrows.audit.checks.rate import distortion_unit
from narrows.audit.evidence.reseeds import spread
from narrows.audit.evidence.view import View
from narrows.audit.metrics.importance import Importance, pareto_limit
from narrows.audit.report.finding import Check, Finding, not_measured

__all__ = ["likelihood"]

_COMMAND = "narrows score RUN --estimator ais"


def likelihood(view: View) -> Finding:
    """-log p(x) by importance sampling on the first examples, with its errors and the gap of the bound."""
    if view.importance is None or view.rate is None:
        return Finding()
    unit = distortion_unit(view)
    if unit != "nats":
        return Finding((not_measured("nll", f"The distortion is a {unit}, no -log p(x | z)."),))
    nll = -view.importance.log_p
    mean, n = float(nll.mean()), len(nll)
    gap = float((view.rate[:n] + view.distortion[:n]).double().mean()) - mean
    return Finding(
        (
            Check(
                "nll",
                mean,
                "nats",
                says=f"-log p(x), {view.importance.samples} importance samples, examples: {n}{_error(nll)}.",
                spread=spread(lambda rows: float(nll[rows].mean()), n, view.seed),
                n=n,
            ),
            Check(
                "nll/gap",
                gap,
                "nats",
                says="The gap to the negative ELBO on the same examples, due to the approximate posterior.",
            ),
            *_reliability(view.importance),
        )
    )


def _error(nll: Tensor) -> str:
    n = len(nll)
    return f", standard error {float(nll.std(correction=1)) / n**0.5:.2g}" if n > 1 else ""


def _reliability(importance: Importance) -> tuple[Check, ...]:
    """The standard error due to the draws, the effective sample size and Pareto k."""
    n, samples = len(importance.log_p), importance.samples
    error, k = float(importance.error.square().sum().sqrt()) / n, importance.pareto_k
    known = k[k.isfinite()]
    limit = pareto_limit(samples)
    far = int((known > limit).sum())
    says = f"Of {samples} samples of an example, on average: as many draws of the true posterior have this error."
    found = [
        Check("nll/error", error, "nats", says="The standard error of `nll` due to the draws alone.", n=n),
        Check("nll/effective", float(importance.effective.mean()), f"of {samples}", says=says, n=n),
    ]
    if len(known):
        tail = f"Tail of the weights, median: {far} of {len(known)} examples are above {limit:.2g}."
        if 2 * far > len(known):
            tail += f" The estimate is too high by an unknown amount; compare: {_COMMAND}."
        found.append(Check("nll/pareto-k", float(known.median()), "", says=tail, n=len(known)))
    return tuple(found)
