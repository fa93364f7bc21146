"""Does structural similarity as the distortion keep more of what is seen than squared errors of pixels?"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from narrows.methods.variational.msssim_vae import msssim_vae
from narrows.methods.variational.vae import vae
from narrows.objectives.similarity import MSSSIM
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.quality import distance, edges, error, features, reconstructed
from narrows.proofs.reduced import reduced

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VAE on pixels and one on structural similarity, with the same networks; compare reconstructions."""
    budget = trial.budget
    data = reduced(trial.data, rows=budget["rows"], tests=budget["test"], pool=1, binary=False)
    test, look = data.test.all(), features(trial, budget["look"], data.train)
    options = {"spec": data.spec, "latent": 16, "net": "mlp:256,128"}
    models = {
        "vae": trial.build(vae, likelihood="gaussian", **options),
        "msssim-vae": trial.build(msssim_vae, **options),
    }
    apart, found = MSSSIM(data.spec.shape), {}
    for name, model in models.items():
        trial.fit(model, data.train, lr=2e-3)
        with torch.no_grad():
            made = model.reconstruct(test).clamp(0, 1)
            found[f"{name}/similarity"] = 1 - float(apart(test.x, made).mean())
            found[f"{name}/frechet"] = distance(look, reconstructed(model, test).clamp(0, 1), test)
        found[f"{name}/edges"] = edges(made, test)
        found[f"{name}/error"] = error(model, test)
    return found


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        reconstructions of unseen images are more similar to them, by 0.02 of at most 1:
            msssim-vae/similarity > vae/similarity + 0.02
        and nearer to the data in the features of a classifier, by a tenth:
            msssim-vae/frechet < 0.9 * vae/frechet  (not at quick scale)
        they have more of the energy of the data's edges:
            msssim-vae/edges > 1.1 * vae/edges  (not at quick scale)
        for at most twice the squared error of pixels:
            msssim-vae/error < 2 * vae/error
        """),
    quick={"steps": 60, "rows": 1438, "test": 200, "look": 5, "batch_size": 64},
    default={"steps": 250, "rows": 10_000, "test": 500, "look": 60, "batch_size": 64},
    full={"steps": 40_000, "rows": 60_000, "test": 10_000, "look": 400},
    notes="""
        Fashion-MNIST at 28 x 28: three scales with windows of 11, 11 and 7 pixels. Codes of width 16, perceptrons. The
        VAE learns the variance of its pixels. Frechet distances are of 32 features of a small classifier. The paper
        trains on larger images, and asks people.
        """,
)
