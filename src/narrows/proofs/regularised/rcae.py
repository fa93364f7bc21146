"""Is what a contractive reconstruction adds to a point the score of the data?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from narrows.core import Autoencoder, Batch, seeded
from narrows.methods.regularised.ae import ae
from narrows.methods.regularised.denoising_ae import denoising_ae
from narrows.methods.regularised.rcae import rcae
from narrows.proofs.engine import Claim, Proof, Trial

__all__ = ["PROOF"]

LATENT = 64
SIGMAS = (0.3, 0.1)


def measure(trial: Trial) -> Mapping[str, float]:
    """Train contractive and denoising autoencoders and a plain one; compare their displacement with exact scores."""
    x = trial.data.test.all().x
    with seeded(trial.seed):
        noise = torch.randn_like(x)
    truth = trial.data.truth
    options = {"latent": LATENT, "net": "mlp:128,128", "likelihood": "squared"}
    rate = f"cosine:2e-3:0:{trial.budget['steps']}"
    plain = trial.fit(trial.build(ae, **options), lr=rate)
    numbers = {"ae/cosine": cosine(displacement(plain, x), truth.score(x.numpy()))}
    for sigma in SIGMAS[: int(trial.budget.get("sigmas", len(SIGMAS)))]:
        contractive = trial.fit(trial.build(rcae, sigma=sigma, probes=2, **options), lr=rate)
        found = displacement(contractive, x)
        numbers[f"rcae-{sigma}/cosine"] = cosine(found, truth.score(x.numpy()))
        options_of_noise = {"corruption": "gaussian", "level": sigma, **options}
        denoiser = trial.fit(trial.build(denoising_ae, **options_of_noise), lr=rate)
        there = x + sigma * noise
        exact = truth.score(there.numpy(), noise=sigma)
        found = displacement(denoiser, there)
        numbers[f"dae-{sigma}/cosine"] = cosine(found, exact)
        numbers[f"dae-{sigma}/slope"] = float((found / sigma**2 * exact).sum() / (exact**2).sum())
    return numbers


def displacement(model: Autoencoder, x: torch.Tensor) -> np.ndarray:
    """r(x) - x at points (N, 2)."""
    with torch.no_grad():
        return (model.reconstruct(Batch(x)) - x).double().numpy()


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The cosine of two fields of vectors (N, 2), each as one vector, so that long ones count most."""
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


PROOF = Proof(
    data="densities2d",
    claims=Claim.read("""
        the displacement of a contractive reconstruction is the score at test points, up to a cosine of 0.95, with
        sigma = 0.3:
            rcae-0.3/cosine > 0.95  (not at quick scale)
        with sigma = 0.1:
            rcae-0.1/cosine > 0.95  (not at quick scale)
        that of a denoiser is the score of the data with its noise, with sigma = 0.3:
            dae-0.3/cosine > 0.95
        with sigma = 0.1, for the denoiser:
            dae-0.1/cosine > 0.95  (not at quick scale)
        its length over sigma^2 is that of the score, within a tenth:
            dae-0.3/slope > 0.9  (not at quick scale)
        a plain autoencoder's is not:
            ae/cosine < 0.5
        """),
    seeds=(100, 101, 102),
    quick={"steps": 400, "batch_size": 128, "sigmas": 1},
    default={"steps": 3000, "batch_size": 256},
    full={"steps": 40_000, "batch_size": 256},
    notes="""
        Eight Gaussians with standard deviation 0.2 on a ring of radius 2; codes of width 64, perceptrons with two
        layers of 128. The score is exact: for the contractive autoencoder that of the data at test points, which it has
        only as sigma goes to 0; for the denoiser that of the data with noise of its sigma, at test points with such
        noise. The cosine is of the fields as wholes, so that points with long scores count most. The paper's
        Metropolis-Hastings samples are left out.
        """,
)
