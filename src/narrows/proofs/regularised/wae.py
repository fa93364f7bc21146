"""Does matching the aggregate posterior alone reconstruct better than a VAE, and sample better than an AE?"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from narrows.audit.metrics.geometry import mmd
from narrows.methods.regularised.ae import ae
from narrows.methods.regularised.wae import wae
from narrows.methods.variational.vae import vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.quality import distance, error, features

__all__ = ["PROOF"]

LATENT = 8
_MEASURED = 2000
"""Examples and draws of which discrepancies are taken; their cost grows with the square."""
_REVISED = "Rivals, networks, steps and the count of examples were chosen after looks at seeds 0 to 2."


def measure(trial: Trial) -> Mapping[str, float]:
    """Train an AE, two VAEs and both WAEs with the same networks; measure errors, codes and samples."""
    test = trial.data.test.all(trial.budget["test"])
    look = features(trial, trial.budget["look"])
    options = {"latent": LATENT, "net": "mlp:128,128"}
    models = {
        "ae": trial.build(ae, likelihood="squared", **options),
        "vae": trial.build(vae, likelihood="gaussian", **options),
        "vae-fixed": trial.build(vae, likelihood="gaussian:fixed", **options),
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
            numbers[f"{name}/discrepancy"] = mmd(z[:_MEASURED], draws[:_MEASURED])
            if name == "ae":  # its codes have any place and size: to be kind to it, draws are moved there
                standard = (z - z.mean(0)) / z.std(0)
                numbers["ae-standardised/discrepancy"] = mmd(standard[:_MEASURED], draws[:_MEASURED])
                draws = draws * z.std(0) + z.mean(0)
            made = model.likelihood.mean(model.decode(draws))
        numbers[f"{name}/mse"] = error(model, test)
        numbers[f"{name}/frechet"] = distance(look, made, test)
    return numbers


def claims(form: str, quick: str) -> tuple[Claim, ...]:
    """What is claimed of a form of the penalty; `quick` marks the distance of the codes from the prior."""
    name, late = f"WAE-{form.upper()}", "not at quick scale"
    return Claim.read(f"""
        {name}: less error on unseen images than a VAE of unit variance:
            {form}/mse < vae-fixed/mse  ({late})
            Post hoc: {_REVISED}
        {name}: less error on unseen images than a VAE that learns its variance:
            {form}/mse < vae/mse  ({late}, refuted here)
            Post hoc: {_REVISED}
        {name}: codes at least twice as near to the prior as an AE's:
            {form}/discrepancy < 0.5 * ae/discrepancy{quick}
            Post hoc: {_REVISED}
        {name}: codes nearer to the prior than an AE's standardised:
            {form}/discrepancy < ae-standardised/discrepancy  ({late})
            Post hoc: {_REVISED}
        {name}: samples of at most 3/4 of the Frechet distance of an AE's:
            {form}/frechet < 0.75 * ae/frechet  ({late})
            Post hoc: {_REVISED}
        {name}: samples nearer to the data than those of a VAE of unit variance:
            {form}/frechet < vae-fixed/frechet  ({late})
            Post hoc: {_REVISED}
        {name}: samples nearer to the data than those of a VAE that learns its variance:
            {form}/frechet < vae/frechet  ({late})
            Post hoc: {_REVISED}
        """)


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=(
        *claims("mmd", quick=""),
        *claims("gan", quick="  (not at quick scale)"),
    ),
    seeds=(101, 102, 103),
    quick={"steps": 40, "test": 200, "look": 20, "batch_size": 64},
    default={"steps": 1500, "test": 5000, "look": 400},
    full={"steps": 40_000, "test": 10_000},
    notes="""
        Codes of width 8, perceptrons with two layers of 128. The weights of the penalties are the builder's; they
        were chosen on another seed (100), hence seeds from 101. `vae-fixed` has a Gaussian likelihood of variance 1,
        whose error is that of the squared cost; `vae` learns its variance, so that its divergence weighs what it
        should. On seeds 0 to 2 it reconstructed better than both WAEs, with layers of 256 and 128. The AE is a strong
        rival, too: samples are drawn from N(0, I) moved to the mean and variance of its codes, latent by latent, and
        `ae-standardised` is the discrepancy of its codes once they are moved to mean 0 and variance 1; on seeds 0 to
        2 those lay as near to the prior as WAE's. Frechet distances are of 32 features of a small classifier trained
        on the spot; the paper's are of Inception features of CelebA (55 against 63). The claims on the adversarial
        form were added after a pilot. One pilot with a fifth of the MMD's weight passed the VAE of unit variance in
        error; the weight was left alone.
        """,
)
