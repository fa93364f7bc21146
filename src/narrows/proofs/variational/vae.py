"""The VAE: a bound far better than independent elements, samples from the prior, a quiet gradient."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from narrows.audit.evidence.likelihood import importance_nll
from narrows.audit.metrics.geometry import mmd
from narrows.core import Autoencoder, Batch, seeded
from narrows.methods.regularised.ae import ae
from narrows.methods.variational.vae import vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.reduced import independent_nll, reduced

__all__ = ["PROOF"]

LATENT = 20
DRAWS = 200
"""Draws of the noise for each variance."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VAE and a plain autoencoder with the same networks, and compare what they decode from Gaussian draws."""
    data = reduced(trial.data, rows=trial.budget["rows"])
    options = {"spec": data.spec, "latent": LATENT, "net": "mlp"}
    model = trial.fit(trial.build(vae, **options), data.train, lr=3e-3)
    plain = trial.fit(trial.build(ae, **options), data.train, lr=3e-3)
    train, test = data.train.all().x, data.test.all()
    with torch.no_grad(), seeded(trial.seed):
        bound = importance_nll(model, test, samples=1).mean()
        z = torch.randn(len(test), LATENT)
        codes = plain.encode(data.train.all()).z  # of any place and size: the draws are moved there
        moved = z * codes.std(0) + codes.mean(0)
        drawn = {
            name: net.likelihood.sample(net.decode(draws))
            for name, net, draws in (("vae", model, z), ("ae", plain, moved))
        }
    variance = gradient_variance(model, test[:64], trial.seed)
    return {
        "vae/bound": float(bound),
        "independent/nll": independent_nll(train, test.x, data.spec),
        "vae/mmd": mmd(drawn["vae"], test.x),
        "ae/mmd": mmd(drawn["ae"], test.x),
        **variance,
    }


def gradient_variance(model: Autoencoder, batch: Batch, seed: int) -> Mapping[str, float]:
    """The variance of two estimates of the distortion's gradient for the posterior mean, summed over latents.

    Reparameterised: d/dz -log p(x|z) at z = mean + scale * noise. Score function: -log p(x|z) * noise / scale.
    """
    with seeded(seed):
        q = model.encode(batch).q
        assert q is not None
        noise = torch.randn(DRAWS, *q.mean.shape)
    z = (q.mean + q.stddev * noise).detach().requires_grad_()
    nll = model.likelihood.nll(model.decode(z), batch.target)
    (reparameterised,) = torch.autograd.grad(nll.sum(), z)
    score = nll.detach().unsqueeze(-1) * noise / q.stddev.detach()
    return {
        "gradient/reparameterised": float(reparameterised.var(0).sum(-1).mean()),
        "gradient/score": float(score.var(0).sum(-1).mean()),
    }


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        the bound on -log p(x) is below 0.7 of what independent elements reach:
            vae/bound < 0.7 * independent/nll  (not at quick scale)
            Post hoc: The factor was first 0.7, then 0.9 after a look at quick scale; 0.7 again, when seeds 0 to 2 had
            shown 0.64.
        samples from the prior lie at least twice as near to the data as a plain autoencoder's from a Gaussian fitted
        to its codes:
            vae/mmd < 0.5 * ae/mmd  (not at quick scale)
            Post hoc: The autoencoder was decoded from N(0, I), whatever the scale of its codes, and seeds 0 to 2 had
            shown a sixteenth.
        the reparameterised gradient has at most a tenth of the score function's variance:
            gradient/reparameterised < 0.1 * gradient/score
        """),
    seeds=(100, 101, 102),
    quick={"steps": 100, "rows": 1438, "batch_size": 64},
    default={"steps": 3000, "rows": 20_000},
    full={"steps": 50_000, "rows": 60_000},
    notes="""
        Images are averaged to 14 x 14 and binarised. Nearness is the squared maximum mean discrepancy between draws
        from p(x | z), z from N(0, I), and test examples; the paper shows pictures instead. The plain autoencoder's
        draws are moved to the mean and variance of its codes of training examples, latent by latent. The factor 0.7
        comes from what is known of 28 x 28 MNIST (110 of 206 nats); 8 x 8 digits, the data of the quick scale, do not
        reach it.
        """,
)
