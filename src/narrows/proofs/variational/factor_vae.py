"""FactorVAE: does a penalty on the total correlation alone disentangle at less cost of reconstruction?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from narrows.audit.metrics.disentanglement import mig
from narrows.core import Autoencoder, Batch, seeded
from narrows.methods.variational.beta_vae import beta_vae
from narrows.methods.variational.factor_vae import factor_vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.squares import SQUARES, judged

__all__ = ["PROOF"]

GAMMA = 10.0


def measure(trial: Trial) -> Mapping[str, float]:
    """Train with a penalty on the total correlation, and with weights 4 and 1 on all of the divergence."""
    test, factors = judged(trial)
    options = {"latent": 6, "net": "mlp:128"}
    models = {
        "factor-vae": trial.build(factor_vae, gamma=GAMMA, **options),
        "beta-vae": trial.build(beta_vae, beta=4.0, **options),
        "vae": trial.build(beta_vae, beta=1.0, **options),
    }
    numbers: dict[str, float] = {}
    for name, model in models.items():
        found = examined(trial.fit(model, lr=3e-3), test, factors, trial.seed)
        numbers.update({f"{name}/{what}": value for what, value in found.items()})
    return numbers


@torch.no_grad()
def examined(model: Autoencoder, test: Batch, factors: Tensor, seed: int) -> Mapping[str, float]:
    """The mutual information gap, the total correlation of a Gaussian and the distortion on the test part."""
    with seeded(seed):
        code = model.encode(test, (1,))
    assert code.mean is not None
    return {
        "mig": mig(code.mean.numpy(), factors.numpy()),
        "tc": -0.5 * float(torch.corrcoef(code.z[0].double().T).logdet()),
        "distortion": float(model.likelihood.nll(model.decode(code.z), test.target).mean()),
    }


PROOF = Proof(
    data="sprites",
    data_options=SQUARES,
    claims=Claim.read("""
        the mutual information gap is larger than the beta-VAE's:
            factor-vae/mig > beta-vae/mig  (not at quick scale)
            Post hoc: [gamma]
        at less distortion:
            factor-vae/distortion < beta-vae/distortion  (not at quick scale)
            Post hoc: [gamma]
        the total correlation, measured without a critic, is at most half of the VAE's:
            factor-vae/tc < 0.5 * vae/tc  (not at quick scale, refuted here)
            Post hoc: The estimator was replaced, see the notes. [gamma]
        and the distortion at most a quarter more:
            factor-vae/distortion < 1.25 * vae/distortion
            Post hoc: [gamma]
        [gamma] With gamma 35 and 1500 steps, seeds 0 to 2 were inconclusive on both comparisons with the beta-VAE, at
            a quarter more distortion than the VAE's. Gamma 10 was chosen on seed 50.
        """),
    seeds=(100, 101, 102),
    quick={"steps": 70, "batch_size": 32},
    default={"steps": 600, "batch_size": 64},
    full={"steps": 100_000},
    notes="""
        Squares whose factors are scale, x and y, 32 x 32 pixels; 6 latents and the settings of the proof of
        `beta-tcvae`. Gamma is 10, the least of the paper's, and beta 4. With the paper's 35 for dSprites the critic,
        which sees 32 codes at each step, adds more noise than the code bears: seeds 0 to 2 had distortions of 34.3
        (FactorVAE), 33.9 (beta-VAE) and 22.4 (VAE). The total correlation is that of a Gaussian with the correlations
        of the drawn codes; the estimate from a minibatch's posteriors, which was used first, saturates near the
        logarithm of the batch's size. The paper measures disentanglement by a vote of the least variable latent, on
        dSprites and faces, and compares over a range of weights.
        """,
)
