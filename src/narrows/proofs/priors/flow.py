"""Does a flow find more of the distribution of a VAE's codes than Gaussians do, and draw better samples from it?"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from narrows.core import seeded
from narrows.methods.variational.vae import vae
from narrows.priors.flow import NormalisingFlow
from narrows.priors.mixture import GaussianMixture
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.quality import decoded, distance, features
from narrows.proofs.reduced import reduced

__all__ = ["PROOF"]

LATENT = 8


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VAE, then both flows on its codes; compare densities of test codes, and samples."""
    data = reduced(trial.data, rows=trial.budget["rows"], tests=trial.budget["test"])
    train, test = data.train.all(), data.test.all()
    look = features(trial, trial.budget["look"], data.train)
    model = trial.fit(trial.build(vae, spec=data.spec, latent=LATENT, net="mlp:128"), data.train)
    symbols = model.symbols_of(test[:2])
    with torch.no_grad(), seeded(trial.seed):
        held_out = model.encode(test, (1,)).z[0]
    drawn = {"standard": torch.randn(len(test), LATENT), "codes": held_out.flip(0)}
    numbers: dict[str, float] = {}
    for name in ("nsf", "maf", "gaussian"):
        prior: GaussianMixture | NormalisingFlow
        with seeded(trial.seed):
            if name == "gaussian":
                prior = GaussianMixture(symbols, components=1)
                prior.prepare(model, prior.view(model, train))
            else:
                prior = NormalisingFlow(symbols, kind=name, width=64, transforms=2)
                model.set_prior(prior)
                steps = trial.budget["prior_steps"]
                trial.fit(model, data.train, finished=("autoencoder",), steps=steps, lr=2e-3)
            with torch.no_grad():
                numbers[f"{name}/nll"] = float(prior.nll(held_out).mean())
                drawn[name] = prior.sample(len(test))
    for name, z in drawn.items():
        numbers[f"{name}/frechet"] = distance(look, decoded(model, z), test)
    return numbers


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        a spline flow finds at least 0.3 nats more in the codes of test images than a Gaussian with their covariance:
            nsf/nll < gaussian/nll - 0.3  (not at quick scale)
        an affine flow finds more, too:
            maf/nll < gaussian/nll  (not at quick scale)
        splines find at least as much as affine maps:
            nsf/nll < maf/nll  (not at quick scale)
        samples have at most 0.9 of the Frechet distance of decoded draws from N(0, I):
            nsf/frechet < 0.9 * standard/frechet  (not at quick scale)
        and at most 0.9 of that of draws from the Gaussian:
            nsf/frechet < 0.9 * gaussian/frechet  (not at quick scale)
        decoded codes of test images are nearer to the data than draws from N(0, I):
            codes/frechet < standard/frechet
        """),
    quick={"steps": 100, "prior_steps": 10, "rows": 1000, "test": 200, "look": 30, "batch_size": 64},
    default={"steps": 1500, "prior_steps": 600, "rows": 20_000, "test": 2000, "look": 300, "batch_size": 128},
    full={"steps": 40_000, "prior_steps": 40_000, "rows": 60_000, "test": 10_000},
    notes="""
        Binary MNIST at 14 x 14, codes of width 8, perceptrons; both flows, of two transformations of width 64, and the
        Gaussian share a trained VAE. Densities are of draws of test images' posteriors, and the priors are fitted to
        draws of training images'. `codes` are decoded draws of the test images' own posteriors, the floor of every
        prior. Frechet distances are of 32 features of a small classifier. The papers fit their flows to data and to
        posteriors, not to codes.
        """,
)
