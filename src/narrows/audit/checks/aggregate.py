"""What lies at the prior: the aggregate posterior against the prior that samples are drawn from."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.audit.evidence.view import View, device_of
from narrows.audit.metrics.geometry import mmd
from narrows.audit.report.finding import Chart, Check, Finding, Series
from narrows.core.check import NarrowsError

__all__ = ["aggregate_posterior"]

_ROWS = 1000
_FAR = 0.03
"""What a shift of 0.45 standard deviations in every latent measures, or codes 0.6 times as wide as the prior."""


def aggregate_posterior(view: View) -> Finding:
    """MMD of drawn codes and draws of the prior, beside that of two draws of the prior; moments of each latent."""
    codes = view.drawn if view.drawn is not None else view.z
    if not isinstance(codes, Tensor) or view.indices is not None or view.sparse is not None:
        return Finding()
    if len(view) < 50 or view.elements:
        return Finding()
    n = min(len(codes), _ROWS)
    prior = _prior_draws(view, 2 * n)
    if prior is None or prior.shape[1:] != codes.shape[1:]:
        return Finding()
    here, there, again = (t.flatten(1) for t in (codes[:n], prior[:n], prior[n:]))
    distance, by_chance = mmd(here, there), abs(mmd(there, again))
    far = distance > _FAR + 3 * by_chance
    says = f"Codes against the prior; two draws of the prior are {by_chance:.2g} apart."
    if far:
        says += (
            " Samples from the prior come from where no data were: raise the rate's weight or fit a prior."
        )
    checks = (
        Check("prior/mmd", distance, "", "warn" if far else "ok", says),
        Check("prior/shift", float(here.mean(0).abs().max()), "", "info", "The largest mean of any latent."),
        Check(
            "prior/scale", float(here.std(0).median()), "", "info", "The middle latent's standard deviation."
        ),
    )
    return Finding(checks, (_chart(here, there),))


def _prior_draws(view: View, n: int) -> Tensor | None:
    try:
        rows, device = torch.arange(n) % len(view.batch), device_of(view.model)
        condition = {name: value[rows].to(device) for name, value in view.batch.condition.items()}
        z = view.model.bottleneck.sample(n, condition).z
    except NarrowsError:
        return None  # without a prior there is nothing to compare
    return z.cpu() if isinstance(z, Tensor) else None


def _chart(here: Tensor, there: Tensor) -> Chart:
    """The two latents that vary most, codes over draws of the prior."""
    a, b = here.var(0).argsort(descending=True, stable=True)[:2].tolist() if here.shape[1] > 1 else (0, 0)
    few = 400
    clouds = [
        Series(name, tuple(t[:few, b].tolist()), tuple(t[:few, a].tolist()), tone)
        for name, t, tone in (("prior", there, 0), ("codes of the data", here, 1))
    ]
    return Chart(
        "aggregate",
        "Codes and prior",
        "The two latents that vary most. Where the clouds differ, samples do not look like data.",
        "points",
        tuple(clouds),
        x_label=f"latent {a}",
        y_label=f"latent {b}",
    )
