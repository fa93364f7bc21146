"""The ARD-VAE: does it find the number of latents that the data need, whatever the width of the code?"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from narrows.bottlenecks.priors.ard import leading, relevance
from narrows.core import Autoencoder, Batch
from narrows.methods.variational.ard_vae import ard_vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.squares import SQUARES

__all__ = ["PROOF"]

WIDTHS = (16, 32)


def measure(trial: Trial) -> Mapping[str, float]:
    """Train with two widths of the code; count the relevant latents, and leave out the others."""
    test, found = trial.data.test.all(limit=1000), []
    for width in WIDTHS:
        model = trial.fit(trial.build(ard_vae, latent=width, net="mlp:128"), lr=2e-3)
        found.append(examined(model, test))
    names = [f"{what}-{width}" for width in WIDTHS for what in ("relevant", "mse", "mse-kept")]
    values = [value for one in found for value in one]
    numbers = dict(zip(names, values, strict=True))
    return {
        **numbers,
        "difference": abs(found[0][0] - found[1][0]),
        "mse": (found[0][1] + found[1][1]) / 2,
        "mse-kept": (found[0][2] + found[1][2]) / 2,
    }


@torch.no_grad()
def examined(model: Autoencoder, test: Batch) -> tuple[float, float, float]:
    """The number of relevant latents, and the squared error with all of them and with those alone."""
    kept = leading(relevance(model, test[:200]))
    z = model.encode(test).z
    alone = torch.zeros_like(z)
    alone[:, kept] = z[:, kept]
    mse, mse_kept = (
        float((model.likelihood.mean(model.decode(code)) - test.target).square().mean())
        for code in (z, alone)
    )
    return float(len(kept)), mse, mse_kept


PROOF = Proof(
    data="sprites",
    data_options=SQUARES,
    claims=Claim.read("""
        the numbers of relevant latents of codes of width 16 and 32 differ by less than 3:
            difference < 3  (not at quick scale)
        without the others, the squared error grows by less than 2 %:
            mse-kept < 1.02 * mse  (not at quick scale)
        of 32 latents at most 24 are relevant:
            relevant-32 < 24  (not at quick scale)
        without the others, the squared error is at most twice as large:
            mse-kept < 2 * mse
        """),
    quick={"steps": 40},
    default={"steps": 2000, "batch_size": 64},
    full={"steps": 100_000},
    notes="""
        Squares whose factors are scale, x and y, 32 x 32 pixels. Relevant are the latents with 99 % of the relevance,
        and those left out are 0, the prior's mean. A tenth of the training examples is held back for the variances.
        """,
)
