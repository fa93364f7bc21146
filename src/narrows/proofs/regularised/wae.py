"""Does matching the aggregate posterior alone reconstruct better than a VAE, and sample better than an AE?"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from narrows.audit.geometry import mmd
from narrows.methods.regularised.ae import ae
from narrows.methods.regularised.wae import wae
from narrows.methods.variational.vae import vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.quality import distance, error, features

__all__ = ["PROOF"]

LATENT = 8


def measure(trial: Trial) -> Mapping[str, float]:
    """Train an AE, a VAE and both WAEs with the same networks; measure errors, codes and samples on test examples."""
    test = trial.data.test.all(trial.budget["test"])
    look = features(trial)
    options = {"latent": LATENT, "net": "mlp", "hidden": (256, 128)}
    models = {
        "ae": trial.build(ae, likelihood="squared", **options),
        "vae": trial.build(vae, likelihood="gaussian", **options),
        "mmd": trial.build(wae, penalty="mmd", **options),
        "gan": trial.build(wae, penalty="gan", **options),
    }
    numbers: dict[str, float] = {}
    for name, model in models.items():
        trial.fit(model, lr=2e-3)
        with torch.no_grad():
            code = model.encode(test)
            z = code.q.sample() if code.q is not None else code.z
            draws = torch.randn_like(z)
            numbers[f"{name}/discrepancy"] = mmd(z, draws)
            if name == "ae":  # its codes have any place and size: to be kind to it, draws are moved there
                numbers["ae-standardised/discrepancy"] = mmd((z - z.mean(0)) / z.std(0), draws)
                draws = draws * z.std(0) + z.mean(0)
            made = model.likelihood.mean(model.decode(draws))
        numbers[f"{name}/mse"] = error(model, test)
        numbers[f"{name}/frechet"] = distance(look, made, test)
    return numbers


def claims(form: str) -> tuple[Claim, ...]:
    """What is claimed of either form of the penalty."""
    return (
        Claim(f"WAE-{form.upper()}: less error on unseen images than a VAE", f"{form}/mse", "<", "vae/mse"),
        Claim(
            f"WAE-{form.upper()}: codes at least twice as near to the prior as an AE's",
            f"{form}/discrepancy",
            "<",
            "ae/discrepancy",
            factor=0.5,
        ),
        Claim(
            f"WAE-{form.upper()}: samples of at most 3/4 of the Frechet distance of an AE's",
            f"{form}/frechet",
            "<",
            "ae/frechet",
            factor=0.75,
        ),
        Claim(
            f"WAE-{form.upper()}: samples nearer to the data than a VAE's",
            f"{form}/frechet",
            "<",
            "vae/frechet",
        ),
    )


PROOF = Proof(
    method="wae",
    data="mnist",
    quick_data="digits",
    claims=(*claims("mmd"), *claims("gan")),
    measure=measure,
    scales={
        "quick": {"steps": 800, "test": 359, "batch_size": 64},
        "default": {"steps": 2000, "test": 5000},
        "full": {"steps": 40_000, "test": 10_000},
    },
    notes=(
        "Codes of width 8, perceptrons with layers of 256 and 128. The weights of the penalties are the builder's; "
        "they were chosen on another seed (100). The VAE is a strong one: its Gaussian likelihood learns its "
        "variance, so that its divergence weighs what it should. The AE, too: samples are drawn from N(0, I) moved "
        "to the mean and variance of its codes, latent by latent; the discrepancy of its codes once they are moved to "
        "mean 0 and variance 1 is `ae-standardised`, of which nothing is claimed. Frechet distances are of 32 features "
        "of a small classifier trained on the spot; the paper's are of Inception features of CelebA (55 against 63). "
        "The claims on the adversarial form were added after a pilot, and the claim on the discrepancy was put back to "
        "the catalogue's (the AE's codes as they are) after one."
    ),
)
