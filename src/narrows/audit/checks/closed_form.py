"""Rate and latents in use of a linear-Gaussian model, against the optimum that is known in closed form."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from narrows.audit.evidence.view import View, device_of
from narrows.audit.report.finding import Chart, Check, Finding, Series
from narrows.core import evaluation_mode, seeded
from narrows.data.synthetic.linear import LinearTruth
from narrows.likelihoods.normal import Gaussian
from narrows.train.stopping import last_step

__all__ = ["closed_form", "linear_optimum"]

_USED = 0.03
"""Nats of a latent in use."""
_NEAR = 0.05
"""The relative difference of the rate, plus `_USED` nats, beyond which training has not converged."""
_PAIRS = 64


def linear_optimum(values: np.ndarray, latent: int, noise: float) -> np.ndarray:
    r"""The rates of the latents at the optimum of a linear VAE, largest first, (Z,).

    .. math:: R_i = \max(0, \tfrac12 \log(l_i / \beta v))

    Args:
        values: l, the eigenvalues of the covariance of what is decoded, given what the decoder is told.
        latent: Z.
        noise: beta v, the weight of the divergence times the decoder's variance.

    Example:
        >>> linear_optimum(np.array([4.0, 1.0, 0.1]), 2, 1.0).round(3).tolist()
        [0.693, 0.0]

    Reference:
        Lucas, Tucker, Grosse, Norouzi, Don't Blame the ELBO!, 2019. arXiv:1911.02469. Dang et al., Beyond Vanilla
        Variational Autoencoders, 2023. arXiv:2306.05023
    """
    rates = np.zeros(latent)
    largest = np.sort(values)[::-1][:latent]
    rates[: len(largest)] = np.maximum(0, 0.5 * np.log(np.maximum(largest, 1e-300) / noise))
    return rates


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


def _noise(view: View) -> float | None:
    """Beta times the decoder's variance; None unless the loss is distortion + beta KL of a Gaussian of one variance."""
    likelihood, objective = view.model.likelihood, view.model.objective
    if not isinstance(likelihood, Gaussian) or likelihood.variance == "learned" or view.weight is not None:
        return None
    step = last_step(view.history)
    few = view.batch[slice(0, _PAIRS)].to(device_of(view.model))
    with torch.no_grad(), evaluation_mode(view.model), seeded(view.seed):
        loss = objective(view.model, few, step)
    beta = objective.weight("kl", step)
    if set(loss.terms) != {"distortion", "kl"} or beta <= 0:
        return None
    whole = loss.terms["distortion"] + beta * loss.terms["kl"]
    if not torch.isclose(loss.total, whole, rtol=1e-4):
        return None  # of several samples, or weighed otherwise
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
