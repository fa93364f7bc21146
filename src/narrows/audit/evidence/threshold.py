"""How many latents a linear VAE would use on the same data: collapse that theory predicts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from narrows.audit.metrics.linear_optimum import critical_beta, linear_optimum, linear_variance
from narrows.core import Autoencoder, Batch, evaluation_mode, seeded
from narrows.likelihoods.normal import Gaussian

__all__ = ["Threshold", "elbo_weight", "linear_threshold"]

PAIRS, ROWS, WIDEST = 64, 1000, 4096
"""Examples of one evaluation of the loss; examples, and elements of one, of which a covariance is computed."""


@dataclass(frozen=True)
class Threshold:
    """What a linear VAE does at its optimum.

    Args:
        active: latents that it uses.
        latent: latents that it has.
        beta: the weight of the divergence.
        variance: of the decoder: the fixed one, or the learned one at the optimum.
        critical: the weight of the divergence below which all latents are used.
    """

    active: int
    latent: int
    beta: float
    variance: float
    critical: float

    @property
    def says(self) -> str:
        """A sentence on the latents that collapse; empty if none do."""
        if self.active >= self.latent:
            return ""
        used = "none" if self.active == 0 else f"{self.active}"
        fix = f"All are used with beta below {self.critical:.3g}" if self.critical > 0 else "Fewer latents do"
        return (
            f"Expect posterior collapse: with beta {self.beta:.3g} a linear VAE uses {used} of {self.latent} latents "
            f"on these data. It uses a direction whose variance is above beta times the decoder's, {self.beta:.3g} x "
            f"{self.variance:.3g}. {fix}; nonlinear nets may use a few more."
        )


@torch.no_grad()
def linear_threshold(model: Autoencoder, batch: Batch, step: int, seed: int = 0) -> Threshold | None:
    """The latents that a linear VAE with the loss of a model would use on its data.

    Args:
        model: a model with one Gaussian code and prior N(0, I).
        batch: training examples; a thousand are enough, more are not read.
        step: at which the weights of the loss are read.
        seed: of the draws of one evaluation of the loss.

    Returns:
        None where theory has no threshold: another loss, likelihood, posterior or prior.
    """
    target = batch.target
    if not isinstance(target, Tensor) or batch.weight is not None or model.all_conditions:
        return None
    if target[0].numel() > WIDEST or len(target) < 2 or not target.is_floating_point():
        return None
    beta, latent = elbo_weight(model, batch[slice(0, PAIRS)], step, seed), _standard_code(model, batch)
    likelihood = model.likelihood
    if beta is None or latent is None or not isinstance(likelihood, Gaussian):
        return None
    values = _eigenvalues(target[:ROWS].flatten(1).double().cpu().numpy())
    fixed = likelihood.variance == "fixed"
    variance = float(likelihood.log_variance.exp()) if fixed else linear_variance(values, latent, beta)
    if variance <= 0 or values[0] <= 0:
        return None
    active = int((linear_optimum(values, latent, beta * variance) > 0).sum())
    return Threshold(
        active, latent, beta, variance, critical_beta(values, latent, variance if fixed else None)
    )


def elbo_weight(model: Autoencoder, few: Batch, step: int, seed: int) -> float | None:
    """The weight beta of a loss that is distortion + beta KL of a Gaussian of one variance; None for other losses."""
    likelihood, objective = model.likelihood, model.objective
    if not isinstance(likelihood, Gaussian) or likelihood.variance == "learned" or few.weight is not None:
        return None
    beta = objective.weight("kl", step)
    if beta <= 0:
        return None
    with torch.no_grad(), evaluation_mode(model), seeded(seed):
        loss = objective(model, few, step)
    if set(loss.terms) != {"distortion", "kl"}:
        return None
    whole = loss.terms["distortion"] + beta * loss.terms["kl"]
    if not torch.isclose(loss.total, whole, rtol=1e-4):
        return None  # of several samples, or weighed otherwise
    return beta


def _standard_code(model: Autoencoder, batch: Batch) -> int | None:
    """The number of latents of a Gaussian code with the prior N(0, I); None for other codes."""
    with evaluation_mode(model), seeded(0):
        code = model.encode(batch[slice(0, 2)])
    if set(code.costs) != {"kl"} or _normal(code.q) is None or not isinstance(code.z, Tensor):
        return None
    prior = _normal(code.p)
    if code.p is not None and (prior is None or bool((prior.loc != 0).any() | (prior.scale != 1).any())):
        return None
    return int(code.z[0].numel())


def _normal(distribution: Distribution | None) -> Normal | None:
    """The Gaussians of the latents, if they are independent."""
    base = distribution.base_dist if isinstance(distribution, Independent) else None
    return base if isinstance(base, Normal) else None


def _eigenvalues(x: np.ndarray) -> np.ndarray:
    """The eigenvalues of the covariance of rows (N, D), largest first, (D,)."""
    centred = x - x.mean(0)
    few = len(x) < x.shape[1]
    found = np.linalg.eigvalsh((centred @ centred.T if few else centred.T @ centred) / len(x))[::-1]
    values = np.zeros(x.shape[1])
    values[: len(found)] = np.maximum(found, 0)
    return values
