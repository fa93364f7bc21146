"""Does a distance in a layer of a critic give images that are nearer to the data than those of a VAE on pixels?"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from narrows.methods.variational.vae import vae
from narrows.methods.variational.vae_gan import vae_gan
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.quality import distance, edges, error, features, reconstructed
from narrows.proofs.reduced import reduced

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VAE on pixels and a VAE/GAN, with the same networks; compare samples and reconstructions."""
    budget = trial.budget
    data = reduced(trial.data, rows=budget["rows"], tests=budget["test"], binary=False)
    test, look = data.test.all(), features(trial, budget["look"], data.train)
    options = {"spec": data.spec, "latent": 16, "net": "mlp:256,128"}
    models = {
        "vae": trial.build(vae, **options),
        "vae-gan": trial.build(vae_gan, critic="patch:channels=16", **options),
    }
    found: dict[str, float] = {}
    for name, model in models.items():
        trial.fit(model, data.train, lr=1e-3)
        with torch.no_grad():
            drawn, made = model.sample(len(test)).clamp(0, 1), reconstructed(model, test).clamp(0, 1)
        found[f"{name}/samples/frechet"] = distance(look, drawn, test)
        found[f"{name}/reconstructions/frechet"] = distance(look, made, test)
        found[f"{name}/edges"] = edges(drawn, test)
        found[f"{name}/error"] = error(model, test)
    return found


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        samples are a quarter nearer to the data than a VAE's:
            vae-gan/samples/frechet < 0.75 * vae/samples/frechet  (not at quick scale)
        and so are reconstructions:
            vae-gan/reconstructions/frechet < 0.75 * vae/reconstructions/frechet  (not at quick scale)
        samples have more of the energy of the data's edges:
            vae-gan/edges > 1.1 * vae/edges  (not at quick scale)
        for at most three times the squared error of pixels:
            vae-gan/error < 3 * vae/error
        """),
    quick={"steps": 60, "rows": 1438, "test": 200, "look": 20, "batch_size": 32},
    default={"steps": 300, "rows": 20_000, "test": 1000, "look": 100, "batch_size": 64},
    full={"steps": 40_000, "rows": 60_000, "test": 10_000, "look": 400},
    notes="""
        MNIST at 14 x 14, codes of width 16, perceptrons; the critic is convolutional and scores patches. The VAE has a
        Bernoulli likelihood. Frechet distances are of 32 features of a small classifier. The paper trains on faces,
        and compares attributes that a classifier reads.
        """,
)
