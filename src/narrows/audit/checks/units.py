"""Use of the latents of a posterior: active units, KL of each latent, active, mixed and passive variables."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from narrows.audit.evidence.reseeds import spread
from narrows.audit.evidence.view import View
from narrows.audit.metrics.usage import ACTIVE, MIXED, PASSIVE, active_units, regimes
from narrows.audit.report.finding import Chart, Check, Finding, Series, not_measured

__all__ = ["units"]

_LISTED = 64
_DRAWN = 128
_NAMES = {ACTIVE: ("active", 1), MIXED: ("mixed", 2), PASSIVE: ("passive", 0)}


def units(view: View) -> Finding:
    """Active units, and where they have a closed form the regimes and the KL of each latent."""
    posterior = view.posterior
    if posterior is None or view.rows < 2:
        return Finding()
    total, active = posterior.mean.shape[1], active_units(posterior.mean)
    checks = [
        Check(
            "active-units",
            float(active),
            f"of {total}",
            "ok" if active else "bad",
            "Units whose posterior mean varies by more than 0.01 over the data (Burda et al. 2015).",
            spread=spread(lambda rows: float(active_units(posterior.mean[rows])), view.rows, view.seed),
            n=view.rows,
        )
    ]
    if posterior.ratio is None:
        reason = "The variance of the prior has no closed form, to which that of the posterior is compared."
        return Finding((*checks, not_measured("latents/regimes", reason)))
    regime = regimes(posterior.ratio)
    says = {
        ACTIVE: "Far narrower than the prior for every example (Bonheme and Grzes 2023).",
        MIXED: "Neither: half as wide as the prior, or used for some examples and not for others.",
        PASSIVE: "As wide as the prior for every example: drop them before downstream use.",
    }
    for which, (name, _) in _NAMES.items():
        count = float((regime == which).sum())
        over = spread(partial(_count, posterior.ratio, which), view.rows, view.seed)
        checks.append(
            Check(f"latents/{name}", count, f"of {total}", "info", says[which], spread=over, n=view.rows)
        )
    if posterior.kl is None:
        reason = "With this posterior and prior it has no closed form for a single latent."
        return Finding((*checks, not_measured("latent/kl", reason)))
    kl = posterior.kl.double().mean(0)
    if total <= _LISTED:
        checks.extend(
            Check(f"latent/{i}/kl", value, "nats", "info", _NAMES[int(regime[i])][0])
            for i, value in enumerate(kl.tolist())
        )
    return Finding(tuple(checks), (_chart(kl, regime),))


def _count(ratio: Tensor, which: int, rows: Tensor) -> float:
    """The number of latents of one regime, on some rows."""
    return float((regimes(ratio[rows]) == which).sum())


def _chart(kl: Tensor, regime: Tensor) -> Chart:
    order = kl.argsort(descending=True)[:_DRAWN]
    series = []
    for which, (name, tone) in _NAMES.items():
        ranks = (regime[order] == which).nonzero().flatten()
        if len(ranks):
            heights = torch.round(kl[order][ranks], decimals=6).tolist()
            series.append(Series(name, tuple(heights), tuple(float(p) for p in ranks), tone))
    return Chart(
        "kl",
        "KL of each latent",
        "Latents in order of their KL to the prior. Latents at zero carry no information.",
        "bars",
        tuple(series),
        x_label="latents, largest KL first",
        y_label="nats",
    )
