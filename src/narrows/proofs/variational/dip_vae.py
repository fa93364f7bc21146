"""The DIP-VAE: uncorrelated codes at no more distortion than a beta-VAE's, and disentangled as well."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from operator import itemgetter

import numpy as np
import torch
from torch import Tensor

from narrows.audit.metrics.disentanglement import sap
from narrows.core import Autoencoder, Batch
from narrows.methods.variational.beta_vae import beta_vae
from narrows.methods.variational.dip_vae import dip_vae
from narrows.objectives.moments import covariance
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.squares import SQUARES, judged

__all__ = ["PROOF"]

BETAS = (1.0, 2.0, 4.0)


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a DIP-VAE and beta-VAEs; compare it with beta-VAEs at its distortion."""
    test, factors = judged(trial)
    options = {"latent": 6, "net": "mlp:128"}
    build = {"dip": partial(trial.build, dip_vae, type="ii", weight=20.0)}
    build |= {f"beta-{beta:g}": partial(trial.build, beta_vae, beta=beta) for beta in BETAS}
    found = {
        name: examined(trial.fit(make(**options), lr=3e-3), test, factors) for name, make in build.items()
    }
    dip = found.pop("dip")
    numbers = {f"dip/{name}": value for name, value in dip.items()}
    rivals = sorted(found.values(), key=itemgetter("distortion"))
    at = [rival["distortion"] for rival in rivals]
    for name in ("covariance", "sap"):
        values = [rival[name] for rival in rivals]
        numbers[f"beta-vae/{name}-at-distortion"] = float(np.interp(dip["distortion"], at, values))
    numbers["beta-vae/distortion"] = found[f"beta-{BETAS[-1]:g}"]["distortion"]
    return numbers


@torch.no_grad()
def examined(model: Autoencoder, test: Batch, factors: Tensor) -> dict[str, float]:
    """The mean squared covariance of two latents, SAP, and the distortion at the mean, of the test part."""
    passed = model(test)
    q = passed.code.q
    assert q is not None
    found = covariance(q.mean, q.variance)
    rest = found - found.diagonal().diag()
    return {
        "covariance": float(rest.square().sum()) / (len(rest) * (len(rest) - 1)),
        "sap": sap(q.mean.numpy(), factors.numpy()),
        "distortion": float(model.likelihood.nll(passed.output, test.target).mean()),
    }


PROOF = Proof(
    data="sprites",
    data_options=SQUARES,
    claims=Claim.read("""
        at the same distortion, the squared covariances of latents are at most a fifth of a beta-VAE's:
            dip/covariance < 0.2 * beta-vae/covariance-at-distortion
        and SAP is not lower:
            dip/sap > beta-vae/sap-at-distortion  (not at quick scale, refuted here)
        the distortion is lower than with weight 4 on the KL divergence:
            dip/distortion < beta-vae/distortion  (not at quick scale)
        """),
    quick={"steps": 50, "batch_size": 32},
    default={"steps": 1000, "batch_size": 64},
    full={"steps": 100_000},
    notes="""
        Squares whose factors are scale, x and y, 32 x 32 pixels; 6 latents, type ii with weight 20. Covariances are of
        draws from the posteriors, squared and averaged over pairs of latents. Those of beta-VAEs, and their SAP, are
        interpolated between weights 1, 2 and 4 to the distortion of the DIP-VAE. The paper uses all of dSprites, 64 x
        64 pixels.
        """,
)
