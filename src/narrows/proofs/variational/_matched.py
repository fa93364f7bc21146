"""What the proofs of the InfoVAE and the MMD-VAE share: how far the codes of few data are from the prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from narrows.audit.metrics.geometry import mmd
from narrows.core import Autoencoder, seeded
from narrows.methods.variational.vae import vae
from narrows.proofs.engine import Trial
from narrows.proofs.reduced import Reduced, reduced

__all__ = ["NOTES", "compared"]

NOTES = """
    500 images of 14 x 14 binary MNIST, codes of width 2. Codes are draws from posteriors of training images.
    The paper's figure has the log-determinant of their covariance for 500 training images; it is 0 for the prior.
    The MMD is that of the audit, with one kernel, between the codes and as many draws of the prior.
    """


def compared(
    trial: Trial, name: str, builder: Callable[..., Autoencoder], **options: Any
) -> dict[str, float]:
    """Train a method and a VAE on few images, for many steps; compare the codes of the training images with the prior.

    Args:
        trial: the trial.
        name: the method's name.
        builder: its builder.
        options: its options.
    """
    data = reduced(trial.data, rows=trial.budget["rows"], tests=trial.budget["test"])
    numbers: dict[str, float] = {}
    for called, build, its in ((name, builder, options), ("vae", vae, {})):
        model = trial.build(build, spec=data.spec, latent=trial.budget["latent"], net="mlp:256", **its)
        trial.fit(model, data.train, lr=2e-3)
        numbers.update(
            {f"{called}/{what}": value for what, value in examined(model, data, trial.seed).items()}
        )
    return numbers


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
