"""Codes beside a decoder that is itself autoregressive: are they in use, and does the decoder need them?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from narrows.audit.metrics.usage import perplexity
from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.core import NO_CONDITION, Autoencoder, Condition, Objective, seeded
from narrows.core.evidence import Indices
from narrows.data import open as open_data
from narrows.likelihoods.masked_pixels import Pixels
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.proofs.engine import Trial
from narrows.proofs.grids import RATE

__all__ = ["beside_a_strong_decoder"]

SIDE, PIXELS, CODES, WIDTH = 12, 4, 32, 8
"""Pixels a side of an image, and a token; size of the codebook, and of a code."""


class _Joined(nn.Module):
    """The means and log-variances of a grid's Gaussian tokens, as one vector."""

    def __init__(self, grid: nn.Module) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        mean, log_variance = self.grid(x, condition).chunk(2, -1)
        return torch.cat([mean.flatten(1), log_variance.flatten(1)], -1)


class _Split(nn.Module):
    """A grid decoder of codes that are one vector."""

    def __init__(self, grid: nn.Module) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        found: Tensor = self.grid(z.unflatten(-1, (-1, WIDTH)), condition)
        return found


def beside_a_strong_decoder(trial: Trial) -> dict[str, float]:
    """Train a VQ-VAE and a VAE with the same networks, whose decoders see all earlier pixels, on a field.

    The field's pixels depend on their neighbours alone, so that such a decoder needs no code: no bound on the
    likelihood can gain from one.
    """
    source = open_data(
        "markov-codes",
        n=trial.budget["field_rows"],
        tests=trial.budget["test"] // 2,
        rows=SIDE,
        columns=SIDE,
        codes=2,
        slope=0.0,
        seed=trial.seed,
    )
    test = source.test.all()
    numbers = {"field/entropy": source.truth.entropy}
    for name in ("vq", "vae"):
        model = trial.fit(
            _built(trial, source.spec, name), source.train, lr=RATE, steps=trial.budget["field_steps"]
        )
        with torch.no_grad(), seeded(trial.seed):
            passed = model(test, () if name == "vq" else (1,))
            nll = model.likelihood.nll(passed.output, test.x)
            wrong = model.decode(passed.code.z.roll(1, -3 if name == "vq" else -2))
            numbers[f"{name}-field/nll"] = float(nll.mean())
            numbers[f"{name}-field/swapped"] = float(model.likelihood.nll(wrong, test.x).mean())
            if name == "vae":
                numbers["vae-field/rate"] = float(passed.code.costs["kl"].mean())
            else:
                numbers["vq-field/perplexity"] = perplexity(passed.code[Indices].indices, CODES)
    return numbers


def _built(trial: Trial, spec: Any, name: str) -> Autoencoder:
    """A VQ-VAE, or the same networks with a Gaussian code of as many numbers."""
    options = {"codes": CODES, "downsample": PIXELS, "net": "conv:width=16", "prior": "none", "spec": spec}
    with seeded(trial.seed):
        pixels = Pixels(spec.shape, window=0, features=16)
    model = trial.build(vq_vae, width=WIDTH, likelihood=pixels, **options)
    if name == "vq":
        return model
    wide = trial.build(vq_vae, width=2 * WIDTH, likelihood=pixels, **options)  # a mean and a variance each
    tokens = (SIDE // PIXELS) ** 2
    return Autoencoder(
        _Joined(wide.encoder), Gaussian(tokens * WIDTH), _Split(model.decoder), pixels, Objective()
    )
