"""Do draws of the uniform distribution of the posteriors' metric look more like the data than draws of N(0, I)?"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from narrows.core import seeded
from narrows.methods.variational.vae import vae
from narrows.priors.mixture import GaussianMixture
from narrows.priors.riemannian import Riemannian
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.quality import decoded, distance, features
from narrows.proofs.reduced import reduced

__all__ = ["PROOF"]

LATENT = 16


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VAE on few images, and draw from it with three priors."""
    data = reduced(trial.data, rows=trial.budget["rows"], tests=trial.budget["test"])
    many = reduced(trial.data, rows=trial.budget["judged"], tests=10)
    test = data.test.all()
    look = features(trial, trial.budget["look"], many.train)
    model = trial.fit(trial.build(vae, spec=data.spec, latent=LATENT, net="mlp"), data.train)
    symbols = model.symbols_of(test[:2])
    priors = {
        "riemannian": Riemannian(symbols, centroids=trial.budget["centroids"]),
        "gmm": GaussianMixture(symbols, components=10),
        "gaussian": GaussianMixture(symbols, components=1),
    }
    numbers: dict[str, float] = {}
    with torch.no_grad(), seeded(trial.seed):
        codes = model.encode(test, (1,)).z[0]
        drawn = {"standard": torch.randn(len(test), LATENT), "codes": codes.flip(0)}
        for name, prior in priors.items():
            prior.prepare(model, prior.view(model, data.train.all()))
            drawn[name] = prior.sample(len(test))
        for name, z in drawn.items():
            numbers[f"{name}/frechet"] = distance(look, decoded(model, z), test)
            near = torch.cdist(z, model.encode(data.train.all()).z).min(1).values
            numbers[f"{name}/from-codes"] = float(near.mean())
    return numbers


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        of a VAE that saw 500 images, draws of the metric's uniform distribution are nearer to the data than draws of
        N(0, I):
            riemannian/frechet < standard/frechet  (not at quick scale)
        and at most a quarter farther from them than draws of a mixture of ten Gaussians:
            riemannian/frechet < 1.25 * gmm/frechet  (not at quick scale, refuted here)
        they lie nearer to the codes of the training images than draws of N(0, I):
            riemannian/from-codes < standard/from-codes
        """),
    quick={
        "steps": 150,
        "rows": 300,
        "judged": 1000,
        "test": 200,
        "look": 30,
        "centroids": 50,
        "batch_size": 64,
    },
    default={
        "steps": 1500,
        "rows": 500,
        "judged": 20_000,
        "test": 2000,
        "look": 400,
        "centroids": 100,
        "batch_size": 64,
    },
    full={"steps": 20_000, "rows": 500, "judged": 60_000, "test": 10_000},
    notes="""
        Binary MNIST at 14 x 14, codes of width 16, perceptrons; the three priors share a trained model. `codes` are
        decoded draws of test examples' own posteriors, the floor of every prior, `gaussian` one Gaussian with the
        covariance of the codes. `from-codes` is the mean distance of a draw from the nearest training code. Frechet
        distances are of 32 features of a small classifier, which is trained on 20,000 images.
        """,
)
