"""What the proofs of the InfoVAE and the MMD-VAE share: how far the codes of few data are from the prior."""

from __future__ import annotations

import torch

from narrows.audit.metrics.geometry import mmd
from narrows.core import Autoencoder, seeded
from narrows.proofs.reduced import Reduced

__all__ = ["examined"]


@torch.no_grad()
def examined(model: Autoencoder, data: Reduced, seed: int) -> dict[str, float]:
    """Codes of the training images against the prior, and the distortion of training and of test images.

    Args:
        model: a model with a prior in its bottleneck.
        data: the data it was trained on.
        seed: of the draws.
    """
    train, test = data.train.all(), data.test.all()
    with seeded(seed):
        z = model.encode(train, (1,)).z[0]
        prior = model.bottleneck.sample(len(z)).z
        there = model.encode(test, (1,)).z
    return {
        "spread": abs(float(torch.logdet(torch.cov(z.T)))),
        "mmd": mmd(z, prior),
        "train": float(model.likelihood.nll(model.decode(z), train.target).mean()),
        "test": float(model.likelihood.nll(model.decode(there), test.target).mean()),
    }
