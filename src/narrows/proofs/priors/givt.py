"""Does a causal model of real tokens sample as well without a codebook as one of indices with it?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.distributions import Normal

from narrows.methods.quantised.vq_vae import vq_vae
from narrows.methods.variational.vae import vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import QUICK, RATE
from narrows.proofs.quality import decoded, distance, features
from narrows.proofs.second import drawn_symbols, fit_prior

__all__ = ["PROOF"]

CHANNELS = 4
BETA = 0.02
TEMPERATURE = 0.9


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VAE and a VQ-VAE over the same grid, and priors over both; compare densities and samples."""
    budget = trial.budget
    test = trial.data.test.all(budget["test"])
    look = features(trial, budget["look"])
    options = {"downsample": budget["downsample"], "net": "conv:width=16", "likelihood": "squared"}
    model = trial.fit(trial.build(vae, latent=CHANNELS, beta=BETA, **options), lr=RATE)
    held_out = drawn_symbols(model, test)
    normal = torch.randn(held_out.shape)
    numbers = {
        "normal/nll": float(-Normal(0.0, 1.0).log_prob(held_out).flatten(1).sum(1).mean()),
        "normal/frechet": distance(look, decoded(model, normal.flatten(1)), test),
        "codes/frechet": distance(look, decoded(model, held_out.flatten(1)).flip(0), test),
    }
    for name, components in {"mixture": 8, "gaussian": 1}.items():
        prior = fit_prior(trial, model, f"givt:components={components},width=64,depth=2")
        with torch.no_grad():
            numbers[f"{name}/nll"] = float(prior.nll(held_out).mean())
            numbers[f"{name}/frechet"] = distance(
                look, model.sample(len(test), temperature=TEMPERATURE), test
            )
    tokens = trial.fit(trial.build(vq_vae, codes=budget["codes"], width=8, prior="none", **options), lr=RATE)
    fit_prior(trial, tokens, "autoregressive:width=64,depth=2")
    with torch.no_grad():
        numbers["softmax/frechet"] = distance(look, tokens.sample(len(test)), test)
    return numbers


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        the density of test codes with mixtures of eight Gaussians is at least 1 nat above that with single Gaussians:
            mixture/nll < gaussian/nll - 1  (not at quick scale)
        and no worse than that of N(0, I):
            mixture/nll < normal/nll
        the Frechet distance of samples is at most that of an equal causal prior of a VQ-VAE's indices, up to a tenth:
            mixture/frechet < 1.1 * softmax/frechet  (not at quick scale)
            Post hoc: With a KL divergence of weight 0.005 and full deviations it was refuted on seeds 0 to 2, 3.0
            beside 1.6. Weight 0.02, and the deviations of the mixtures times 0.9, as the authors do, were chosen then.
        and at most half of that of draws from N(0, I):
            mixture/frechet < 0.5 * normal/frechet  (not at quick scale)
        """),
    seeds=(100, 101, 102),
    quick={**QUICK, "steps": 15, "prior_steps": 5, "codes": 32, "downsample": 2, "prior_batch": 32},
    default={
        "steps": 300,
        "prior_steps": 300,
        "prior_batch": 32,
        "test": 1000,
        "look": 400,
        "batch_size": 64,
        "codes": 256,
        "downsample": 4,
    },
    full={"steps": 20_000, "prior_steps": 20_000, "prior_batch": 64, "test": 10_000},
    notes="""
        A grid of 7 x 7 tokens (digits: 4 x 4). The VAE has tokens of four numbers, squared error, and a KL divergence
        of weight 0.02; the VQ-VAE has 256 codes of width 8. Samples are drawn with
        deviations times 0.9. Transformers have 64 channels and two blocks, and equal
        steps. Densities are of one draw from the posterior of each test example. `codes` are decoded draws of test
        examples' own posteriors, the floor of every prior. Frechet distances are of 32 features of a small classifier.
        """,
)
