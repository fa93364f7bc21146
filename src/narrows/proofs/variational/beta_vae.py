"""The beta-VAE: a larger weight on the KL divergence trades distortion for disentangled latents."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from narrows.audit.metrics.disentanglement import mig
from narrows.core import Autoencoder, Batch
from narrows.methods.variational.beta_vae import beta_vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.squares import SQUARES, judged

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train with weights 4 and 1, all else being equal."""
    test, factors = judged(trial)
    numbers: dict[str, float] = {}
    for name, beta in (("beta-vae", 4.0), ("vae", 1.0)):
        model = trial.fit(trial.build(beta_vae, beta=beta, latent=6, net="mlp:128"), lr=3e-3)
        numbers.update({f"{name}/{what}": value for what, value in examined(model, test, factors).items()})
    return numbers


@torch.no_grad()
def examined(model: Autoencoder, test: Batch, factors: Tensor) -> Mapping[str, float]:
    """The mutual information gap, the rate and the distortion on the test part."""
    passed = model(test)
    assert passed.code.mean is not None
    return {
        "mig": mig(passed.code.mean.numpy(), factors.numpy()),
        "rate": float(passed.code.costs["kl"].mean()),
        "distortion": float(model.likelihood.nll(passed.output, test.target).mean()),
    }


PROOF = Proof(
    data="sprites",
    data_options=SQUARES,
    claims=Claim.read("""
        the mutual information gap is larger than the VAE's:
            beta-vae/mig > vae/mig  (not at quick scale)
        the code carries at most 4/5 of the VAE's nats:
            beta-vae/rate < 0.8 * vae/rate
        """),
    quick={"steps": 50},
    default={"steps": 2000, "batch_size": 64},
    full={"steps": 100_000},
    notes="""
        Squares whose factors are scale, x and y, 32 x 32 pixels; 6 latents and weight 4, as in the proof of
        `beta-tcvae`, whose rival this method is. The paper measures disentanglement by the accuracy of a linear
        classifier on differences of codes, on dSprites and faces, with weights chosen for each.
        """,
)
