"""The aggregate posterior against the prior."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.audit.evidence.view import View, device_of
from narrows.audit.metrics.geometry import mmd
from narrows.audit.report.finding import Check, Finding
from narrows.core.check import NarrowsError

__all__ = ["aggregate_posterior", "codes_of", "prior_draws"]

_ROWS = 1000
_FAR = 0.03
"""The MMD of a shift by 0.45 standard deviations in every latent, or of codes 0.6 times as wide as the prior."""


def aggregate_posterior(view: View) -> Finding:
    """MMD between codes and draws of the prior, compared with the MMD of two sets of draws; moments of the latents."""
    codes = codes_of(view)
    if codes is None:
        return Finding()
    n = min(len(codes), _ROWS)
    prior = prior_draws(view, 2 * n)
    if prior is None or prior.shape[1:] != codes.shape[1:]:
        return Finding()
    encoded, drawn, redrawn = (t.flatten(1) for t in (codes[:n], prior[:n], prior[n:]))
    distance, noise = mmd(encoded, drawn), abs(mmd(drawn, redrawn))
    far = distance > _FAR + 3 * noise
    says = f"MMD between codes and the prior; between two samples of the prior it is {noise:.2g}."
    if far:
        says += " Samples of the prior lie where no codes of the data are: raise the rate's weight or fit a prior."
    checks = (
        Check("prior/mmd", distance, "", "warn" if far else "ok", says),
        Check(
            "prior/shift",
            float(encoded.mean(0).abs().max()),
            "",
            "info",
            "The largest absolute mean of a latent.",
        ),
        Check(
            "prior/scale",
            float(encoded.std(0).median()),
            "",
            "info",
            "The median standard deviation of a latent.",
        ),
    )
    return Finding(checks)


def codes_of(view: View) -> Tensor | None:
    """The codes of the examples, draws if there is a posterior; None unless they are at least 50 dense ones."""
    codes = view.drawn if view.drawn is not None else view.z
    if not isinstance(codes, Tensor) or view.indices is not None or view.sparse is not None:
        return None
    return None if len(view) < 50 or view.elements else codes


def prior_draws(view: View, n: int) -> Tensor | None:
    """n draws of the method's own prior; None if it has none."""
    try:
        rows, device = torch.arange(n) % len(view.batch), device_of(view.model)
        condition = {name: value[rows].to(device) for name, value in view.batch.condition.items()}
        z = view.model.bottleneck.sample(n, condition).z
    except NarrowsError:
        return None  # the method has no prior to compare with
    return z.cpu() if isinstance(z, Tensor) else None
