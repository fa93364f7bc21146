"""The importance-weighted likelihood, and its gap to the bound."""

from __future__ import annotations

from narrows.audit.checks.rate import distortion_unit
from narrows.audit.evidence.reseeds import spread
from narrows.audit.evidence.view import NLL_SAMPLES, View
from narrows.audit.report.finding import Check, Finding

__all__ = ["likelihood"]


def likelihood(view: View) -> Finding:
    """-log p(x) by importance sampling on the first examples, with its standard error and the gap of the bound."""
    if view.nll is None or view.rate is None or distortion_unit(view) != "nats":
        return Finding()
    nll, n = view.nll.double(), len(view.nll)
    mean = float(nll.mean())
    error = f", standard error {float(nll.std(correction=1)) / n**0.5:.2g}" if n > 1 else ""
    gap = float((view.rate[:n] + view.distortion[:n]).double().mean()) - mean
    return Finding(
        (
            Check(
                "nll",
                mean,
                "nats",
                says=f"-log p(x), {NLL_SAMPLES} importance samples, examples: {n}{error}.",
                spread=spread(lambda rows: float(nll[rows].mean()), n, view.seed),
                n=n,
            ),
            Check(
                "nll/gap",
                gap,
                "nats",
                says="The gap to the negative ELBO on the same examples, due to the approximate posterior.",
            ),
        )
    )
