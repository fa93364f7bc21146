"""The linear hierarchical VAE: is the upper level used only if the lower encoder variance is fixed?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from narrows.methods.variational.linear_hvae import linear_hvae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.worlds import own_linear

__all__ = ["PROOF"]

LATENT, VARIANCE = 4, 0.1


def measure(trial: Trial) -> Mapping[str, float]:
    """Train with learned encoder variances, and with that of the lower level fixed at 1."""
    own = own_linear(trial)
    values = np.sort(np.linalg.eigvalsh(own.data.truth.covariance))[::-1][:LATENT]
    numbers = {"exact/upper-rate": float(0.5 * np.log(values / VARIANCE).sum())}
    for name, fixed in (("learned", 0.0), ("fixed", 1.0)):
        model = own.build(linear_hvae, latent=LATENT, upper=LATENT, variance=VARIANCE, encoder_variance=fixed)
        own.fit(model, lr=1e-2)
        with torch.no_grad():
            numbers[f"{name}/upper-rate"] = float(model.encode(own.data.test.all()).costs["kl/1"].mean())
    return numbers


PROOF = Proof(
    data="linear",
    data_options={"n": 5000, "d": 8, "latent": 4, "noise": 0.1, "spectrum": (4.0, 2.0, 1.0, 0.5)},
    claims=Claim.read("""
        with learned encoder variances the upper level carries at most a fifth of the nats:
            learned/upper-rate < 0.2 * fixed/upper-rate  (not at quick scale, refuted here)
        with the lower one fixed, at least 9/10 of those of the closed form:
            fixed/upper-rate > 0.9 * exact/upper-rate  (not at quick scale)
        and at most 11/10:
            fixed/upper-rate < 1.1 * exact/upper-rate  (not at quick scale)
        and, also at quick scale, at least half of them:
            fixed/upper-rate > 0.5 * exact/upper-rate
            Post hoc: Added after a look at seeds 0 to 2 at quick scale.
        """),
    seeds=(100, 101, 102),
    quick={"steps": 400},
    default={"steps": 4000, "batch_size": 250},
    full={"steps": 40_000},
    notes="""
        Every seed is another world, with covariance eigenvalues l of 4, 2, 1 and 0.5. With the decoder's variance v =
        0.1 and the lower encoder variance s = 1, the optimum has p(z_1) of variance s l_i / v, and the upper level
        carries 1/2 sum log(s l_i / v) nats.
        """,
)
