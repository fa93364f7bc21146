"""Do latents that are few scalars each, under strong weight decay, disentangle factors better than other codes?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from narrows.audit.metrics.modularity import infomec
from narrows.core import Autoencoder, Batch
from narrows.methods.quantised.qlae import qlae
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.methods.regularised.ae import ae
from narrows.methods.variational.beta_vae import beta_vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.squares import SQUARES, judged

__all__ = ["PROOF"]

NET, LATENT = "mlp:128", 6


def measure(trial: Trial) -> Mapping[str, float]:
    """Train with and without weight decay, and an AE, a beta-VAE and a VQ-VAE; score the codes of test examples."""
    test, factors = judged(trial)
    numbers = {"mean/mse": float(test.x.var(0, correction=0).mean())}
    vq = {"codes": 32, "width": 2, "downsample": 16, "prior": "none"}  # 4 tokens of 5 bits, for 6 of log2(10)
    arms: Mapping[str, tuple[Callable[..., Autoencoder], Mapping[str, Any], Mapping[str, Any]]] = {
        "qlae": (qlae, {"latent": LATENT, "prior": "none"}, {}),
        "undecayed": (qlae, {"latent": LATENT, "prior": "none"}, {"weight_decay": 0.0}),
        "ae": (ae, {"latent": LATENT}, {}),
        "beta-vae": (beta_vae, {"latent": LATENT, "beta": 4.0}, {}),
        "vq": (vq_vae, vq, {}),
    }
    for name, (builder, options, training) in list(arms.items())[: trial.budget["arms"]]:
        model = trial.fit(trial.build(builder, net=NET, **options), lr=3e-3, **training)
        numbers |= {f"{name}/{what}": value for what, value in examined(model, test, factors).items()}
    return numbers


@torch.no_grad()
def examined(model: Autoencoder, test: Batch, factors: Tensor) -> Mapping[str, float]:
    """The three scores of InfoMEC and the squared error."""
    codes = model.features(test)
    scores = infomec(codes.numpy(), factors.numpy())
    error = float((model.reconstruct(test) - test.target).square().mean())
    return {
        "infom": scores.modularity,
        "infoe": scores.explicitness,
        "infoc": scores.compactness,
        "mse": error,
    }


PROOF = Proof(
    data="sprites",
    data_options=SQUARES,
    claims=Claim.read("""
        the latents are more modular (InfoM) than an autoencoder's:
            qlae/infom > ae/infom  (not at quick scale)
        than a beta-VAE's:
            qlae/infom > beta-vae/infom  (not at quick scale)
        than without weight decay:
            qlae/infom > undecayed/infom  (not at quick scale)
        and than those of a VQ-VAE with as many bits:
            qlae/infom > vq/infom  (not at quick scale)
        the factors are more explicit (InfoE) than in an autoencoder:
            qlae/infoe > ae/infoe  (not at quick scale)
        than in a beta-VAE:
            qlae/infoe > beta-vae/infoe  (not at quick scale)
        than without weight decay:
            qlae/infoe > undecayed/infoe  (not at quick scale)
        and than in a VQ-VAE with as many bits:
            qlae/infoe > vq/infoe  (not at quick scale)
        at a squared error of at most 1.1 times the beta-VAE's:
            qlae/mse < 1.1 * beta-vae/mse  (not at quick scale)
        and at most 0.9 of that of the mean image:
            qlae/mse < 0.9 * mean/mse
        """),
    quick={"steps": 300, "arms": 1},
    default={"steps": 2000, "batch_size": 64, "arms": 5},
    full={"steps": 100_000},
    notes="""
        Squares whose factors are scale, x and y, 32 x 32 pixels; perceptrons of 128 units, 6 latents, twice the factors
        as in the paper, of 10 values; the VQ-VAE has 4 tokens of 32 codes of width 2, its score is that of their 8
        numbers. No gradient beyond the outermost scalars, unlike in the paper: with it, latents moved to 12 within 300
        steps (seed 1000). This bound was set after a look at quick runs with seeds 0 to 2 (post hoc); the claims were
        fixed before. InfoE is held-out here. The paper's budgets are 40 times as long, with which weight decay of
        0.1 weighs as much more; its data are dSprites-like sets with 5 and more factors.
        """,
)
