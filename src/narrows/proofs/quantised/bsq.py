"""Is the quantisation error of signs on the sphere bounded, and is a large codebook in use?"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from narrows.bottlenecks.discrete.binary import BinaryQuantizer
from narrows.core import Autoencoder, Batch
from narrows.methods.quantised.bsq import bsq
from narrows.proofs.binary import NOTES, SCALES, two_sizes
from narrows.proofs.engine import Claim, Proof, Trial

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train BSQ of two sizes and VQ of the larger one; look for the largest error of a token."""
    numbers, model, bottleneck = two_sizes(trial, bsq, "bsq")
    test = trial.data.test.all(trial.budget["test"])
    return {**numbers, "bsq-large/excess": excess(model, bottleneck, test)}


@torch.no_grad()
def excess(model: Autoencoder, bottleneck: BinaryQuantizer, test: Batch) -> float:
    """By how much the largest squared error of a token, and of random ones, is above 2 - 2 / sqrt(d)."""
    tokens = bottleneck.inward(model.encoder(test.x, test.condition)).flatten(0, -2)
    u = bottleneck.unrounded(torch.cat([tokens, torch.randn_like(tokens)]))
    q = bottleneck.quantize(u[None]).vectors[0]
    return float((u - q).square().sum(-1).max()) - (2 - 2 * bottleneck.width**-0.5)


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        no token has a squared quantisation error above 2 - 2 / sqrt(d):
            bsq-large/excess < 1e-5
        BSQ uses a larger share of the large codebook than a plain VQ:
            bsq-large/used > vq-large/used  (not at quick scale)
        the error falls as the codebook grows:
            bsq-large/mse < 0.95 * bsq-small/mse  (not at quick scale)
        """),
    **SCALES,
    notes=NOTES
    + """ The paper compares transformers on ImageNet, with a perceptual and an adversarial loss.
        """,
)
