"""Does an autoencoder without noise, with a smooth decoder and a mixture of its codes, sample as well as a VAE?"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from narrows.core import Batch, Symbols, seeded
from narrows.methods.regularised.rae import rae
from narrows.methods.variational.vae import vae
from narrows.objectives.jacobian import jacobian_norm
from narrows.priors.mixture import GaussianMixture
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.quality import decoded, distance, error, features
from narrows.proofs.reduced import reduced

__all__ = ["PROOF"]

LATENT = 16
FORMS = ("gp", "l2", "sn", "none")


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VAE and each form of the RAE with the same networks; compare errors and samples."""
    data = reduced(trial.data, rows=trial.budget["rows"], tests=trial.budget["test"], binary=False)
    test = data.test.all()
    look = features(trial, trial.budget["look"], data.train)
    options = {"spec": data.spec, "latent": LATENT, "net": "mlp"}
    models = {"vae": trial.build(vae, likelihood="gaussian", **options)}
    models |= {form: trial.build(rae, penalty=form, prior="none", **options) for form in FORMS}
    numbers: dict[str, float] = {}
    for name, model in models.items():
        trial.fit(model, data.train, lr=2e-3)
        code = model.encode(data.train.all())
        numbers[f"{name}/mse"] = error(model, test)
        with seeded(trial.seed):
            z = (code.z if code.q is None else code.q.sample()).detach()
            for kind, components in (("mixture", 10), ("gaussian", 1)):
                prior = GaussianMixture(Symbols((LATENT,)), components=components)
                prior.prepare(model, Batch(z))
                with torch.no_grad():
                    numbers[f"{name}/{kind}"] = distance(look, decoded(model, prior.sample(len(test))), test)
            if name == "vae":
                with torch.no_grad():
                    made = decoded(model, torch.randn(len(test), LATENT))
                numbers["vae/prior"] = distance(look, made, test)
            slope = jacobian_norm(model.decode, model.encode(test).z.detach(), probes=8)
            numbers[f"{name}/jacobian"] = float(slope.detach().mean())
    return numbers


def claims(form: str) -> tuple[Claim, ...]:
    """What is claimed of a form of the penalty."""
    return Claim.read(f"""
        {form}: samples from a mixture of the codes are nearer to the data than a VAE's from its prior:
            {form}/mixture < vae/prior  (not at quick scale)
        {form}: less error on unseen images than the VAE:
            {form}/mse < vae/mse  (not at quick scale)
        """)


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=(
        *claims("gp"),
        *claims("l2"),
        *claims("sn"),
        *Claim.read("""
            the mixture is nearer to the data than one Gaussian with the covariance of the codes:
                gp/mixture < gp/gaussian  (not at quick scale)
            a mixture of its codes improves the VAE's samples, too:
                vae/mixture < vae/prior  (not at quick scale)
            the gradient penalty makes the decoder's Jacobian smaller:
                gp/jacobian < none/jacobian
            """),
    ),
    quick={"steps": 100, "rows": 1000, "test": 200, "look": 20, "batch_size": 64},
    default={"steps": 1200, "rows": 20_000, "test": 2000, "look": 400},
    full={"steps": 40_000, "rows": 60_000, "test": 10_000},
    notes="""
        MNIST at 14 x 14, codes of width 16, perceptrons, equal steps. `mixture` are samples of ten Gaussians with full
        covariances, `gaussian` of one, both fitted to training codes (draws of the VAE's posteriors); `prior` are
        draws of N(0, I). `none` is the RAE without penalty of the decoder. The VAE learns the variance of its
        Gaussian likelihood. Frechet distances are of 32 features of a small classifier; the paper's are of
        Inception features.
        """,
)
