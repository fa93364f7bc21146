"""Do signs of channels use a large codebook, and does the error fall as it grows?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from narrows.bottlenecks.discrete.binary import BinaryQuantizer
from narrows.core import Autoencoder, Batch
from narrows.methods.quantised.lfq import lfq
from narrows.proofs.binary import NOTES, SCALES, two_sizes
from narrows.proofs.engine import Claim, Proof, Trial

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train LFQ of two sizes and VQ of the larger one; compare the entropies with sums over all codes."""
    numbers, model, bottleneck = two_sizes(trial, lfq, "lfq")
    return {**numbers, "entropies/error": entropies(model, bottleneck, trial.data.test.all(20))}


@torch.no_grad()
def entropies(model: Autoencoder, bottleneck: BinaryQuantizer, test: Batch) -> float:
    """The largest relative difference of both entropies from sums over all codes."""
    features: Tensor = model.encoder(test.x, test.condition)
    codes = bottleneck.vectors(torch.arange(bottleneck.codes)).double()
    scores = 2 * bottleneck.unrounded(features.double()) @ codes.T / bottleneck.temperature
    p = scores.softmax(-1)
    each = torch.special.entr(p).sum((-2, -1))
    mean = features.shape[-2] * torch.special.entr(p.flatten(0, -2).mean(0)).sum()
    found = bottleneck(features).costs["entropy"].double(), -bottleneck.diversity(features).double()
    return max(float((a - b).abs().sum() / b.sum()) for a, b in zip(found, (each, mean), strict=True))


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        the error falls as the codebook grows:
            lfq-large/mse < 0.95 * lfq-small/mse  (not at quick scale)
        LFQ uses a larger share of the large codebook than a plain VQ:
            lfq-large/used > vq-large/used  (not at quick scale)
        both entropies, without a table of tokens times codes, are those of sums over all codes:
            entropies/error < 1e-4
        """),
    seeds=(100, 101, 102),
    **SCALES,
    notes=NOTES
    + """ A run on digits at quick scale was seen before the claims were committed, which are unchanged. The paper's
        claim, that samples also improve with the size of the codebook, needs a prior and larger images; it is not
        measured.
        """,
)
