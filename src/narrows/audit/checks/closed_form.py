"""Rate and latents in use of a linear-Gaussian model, against the optimum that is known in closed form."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from narrows.audit.evidence.threshold import ROWS, Threshold, elbo_weight, linear_threshold
from narrows.audit.evidence.view import View, device_of
from narrows.audit.metrics.linear_optimum import linear_optimum
from narrows.audit.metrics.usage import active_units
from narrows.audit.report.finding import Chart, Check, Finding, Series
from narrows.data.synthetic.linear import LinearTruth
from narrows.likelihoods.normal import Gaussian
from narrows.train.stopping import last_step

__all__ = ["closed_form", "predicted", "threshold"]

_USED = 0.03
"""Nats of a latent in use."""
_NEAR = 0.05
"""The relative difference of the rate, plus `_USED` nats, beyond which training has not converged."""
_PAIRS = 64


def closed_form(view: View) -> Finding:
    """The rate and the number of latents in use, and those of the optimum; empty unless it is known."""
    truth, posterior = view.known.truth, view.posterior
    if not isinstance(truth, LinearTruth) or posterior is None or posterior.kl is None:
        return Finding()
    noise = _noise(view)
    if noise is None or set(view.costs) != {"kl"} or not _linear(view):
        return Finding()
    kl = posterior.kl.double().mean(0).sort(descending=True).values
    given = len(truth.bias) - view.batch.target[0].numel()
    best = linear_optimum(truth.eigenvalues(given), len(kl), noise)
    rate, exact = float(kl.sum()), float(best.sum())
    used, wanted = int((kl > _USED).sum()), int((best > _USED).sum())
    far = abs(rate - exact) > _NEAR * exact + _USED
    fix = " Train longer, or with a smaller or decaying learning rate." if far else ""
    says = f"The rate at the optimum for this decoder variance and beta, 1/2 sum log(l / beta v); here {rate:.4g}.{fix}"
    other = f"Latents of more than {_USED} nats at the optimum, those with l > beta v; here {used}."
    checks = (
        Check("closed-form/rate", exact, "nats", "warn" if far else "ok", says, n=len(view)),
        Check(
            "closed-form/active", float(wanted), f"of {len(kl)}", "ok" if used == wanted else "warn", other
        ),
    )
    return Finding(checks, (_chart(kl, best),))


def threshold(view: View) -> Threshold | None:
    """What a linear VAE with the same loss does on the training examples; None without a theory, or without them."""
    if view.train is None:
        return None
    rows = view.train.batch(slice(0, ROWS), view.model.conditions).to(device_of(view.model))
    return linear_threshold(view.model, rows, last_step(view.history), view.seed)


def predicted(view: View) -> Finding:
    """The latents that a linear VAE with the same loss would use on the training examples; empty without a theory."""
    if view.posterior is None or isinstance(view.known.truth, LinearTruth):
        return Finding()
    found = threshold(view)
    if found is None:
        return Finding()
    here = active_units(view.posterior.mean)
    says = (
        f"A linear VAE with beta {found.beta:.3g} and decoder variance {found.variance:.3g} uses the latents whose "
        f"variance in the data is above their product, all {found.latent} with beta below {found.critical:.3g}. "
    )
    if here >= found.active:
        says += f"Here {here} are active: the loss has no use for the others."
    else:
        says += f"Here {here} are active: the loss would pay for more. Train longer, warm up beta, or use free bits."
    none = "a property of the data and the loss"
    check = Check(
        "latents/predicted",
        float(found.active),
        f"of {found.latent}",
        "info",
        says,
        no_chance=none,
        no_spread=none,
    )
    return Finding((check,))


def _noise(view: View) -> float | None:
    """Beta times the decoder's variance; None unless the loss is distortion + beta KL of a Gaussian of one variance."""
    if view.weight is not None:
        return None
    few = view.batch[slice(0, _PAIRS)].to(device_of(view.model))
    beta, likelihood = elbo_weight(view.model, few, last_step(view.history), view.seed), view.model.likelihood
    if beta is None or not isinstance(likelihood, Gaussian):
        return None
    return beta * float(likelihood.split(few.target)[1].exp())


def _linear(view: View) -> bool:
    """Whether the decoder's mean is an affine function of the code."""
    z = view.z
    if not isinstance(z, Tensor) or z.ndim != 2 or len(z) < 2 * _PAIRS:
        return False
    a, b = z[:_PAIRS], z[_PAIRS : 2 * _PAIRS]
    rows = torch.zeros(_PAIRS, dtype=torch.long)
    first, second, middle = (view.decode(code, rows).double() for code in (a, b, (a + b) / 2))
    off = (middle - (first + second) / 2).abs().max()
    return bool(off <= 1e-4 * (first - second).abs().max().clamp_min(1e-6))


def _chart(kl: Tensor, best: np.ndarray) -> Chart:
    return Chart(
        "closed-form",
        "Rate of each latent, and at the optimum",
        "Latents in order of their rate; the line is the optimum in closed form.",
        "points",
        (
            Series("closed form", tuple(best.tolist()), tone=2, mark="line"),
            Series("this model", tuple(kl.tolist())),
        ),
        x_label="latents, largest rate first",
        y_label="nats",
    )
