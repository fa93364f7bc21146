"""The noise of the gradients of importance-weighted bounds, and the gap that inference leaves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from narrows import likelihoods
from narrows.audit.evidence.likelihood import importance_weights
from narrows.core import Autoencoder, Batch, Objective
from narrows.data import open as open_data
from narrows.methods.variational.iwae import iwae
from narrows.proofs.engine import Trial
from narrows.proofs.reduced import reduced

__all__ = ["BUDGETS", "gaps", "linear_model", "signal_to_noise", "slope"]

BUDGETS: Mapping[str, Mapping[str, int]] = {
    "quick": {"repeats": 400, "points": 2, "steps": 5, "rows": 500, "tests": 20, "importance": 20},
    "default": {
        "repeats": 1000,
        "points": 4,
        "steps": 500,
        "batch_size": 32,
        "rows": 20_000,
        "tests": 200,
        "importance": 300,
    },
    "full": {"steps": 50_000, "rows": 60_000, "tests": 1000, "importance": 5000},
}
"""Budgets of the proofs that compare bounds of 64 samples: draws of a gradient at each point, and the training."""


def linear_model(seed: int, points: int) -> tuple[Autoencoder, Batch]:
    """A linear-Gaussian model with its true decoder and a posterior that is off, and a few of its data.

    The posterior's mean is half a standard deviation from the exact one, its variance larger by a factor of 1.6.
    """
    source = open_data("linear", n=100, d=8, latent=3, spectrum=(3.0, 2.0, 1.0), seed=seed, tests=points)
    truth = source.truth
    fixed = likelihoods.Gaussian((8,), "fixed", truth.noise**2)
    model = iwae(source.spec, latent=3, net="linear", likelihood=fixed)
    weight, bias = (torch.as_tensor(each, dtype=torch.float32) for each in (truth.weight, truth.bias))
    variance = 1 / (1 + weight.square().sum(0) / truth.noise**2)  # exact, the columns being orthogonal
    inverse = variance[:, None] * weight.T / truth.noise**2
    sides: Any = model
    encoder, decoder = sides.encoder.layers[-1], sides.decoder.layers[-1]
    with torch.no_grad():
        encoder.weight.copy_(torch.cat([inverse, torch.zeros_like(inverse)]))
        encoder.bias.copy_(
            torch.cat([0.5 * variance.sqrt() - inverse @ bias, variance.log() + math.log(1.6)])
        )
        decoder.weight.copy_(weight)
        decoder.bias.copy_(bias)
    return model, source.test.all()


def signal_to_noise(
    objective: Objective, model: Autoencoder, points: Batch, repeats: int
) -> tuple[float, float]:
    """|E g| / std g of one example's gradient g, for the encoder's and for the decoder's biases.

    Of each point `repeats` gradients are drawn at once. The square of their mean is taken without the share of the
    noise that is left in it.
    """
    batch = Batch(points.x.repeat_interleave(repeats, 0))
    passed = model(batch, objective.samples)
    wanted = passed.features, passed.output
    encoder, decoder = torch.autograd.grad(objective.of(model, passed, 0).total, wanted)
    found = []
    for gradients in (encoder, decoder.flatten(0, -3).sum(0)):
        each = gradients.double().unflatten(0, (len(points), repeats))
        noise = each.var(1).sum(-1)
        signal = (each.mean(1).square().sum(-1) - noise / repeats).clamp_min(0)
        found.append(float((signal / noise).sqrt().mean()))
    return found[0], found[1]


def slope(counts: Sequence[int], ratios: Sequence[float]) -> float:
    """The slope of log ratio over log count, by least squares.

    Example:
        >>> round(slope([1, 2, 4], [3.0, 6.0, 12.0]), 6)
        1.0
    """
    return float(np.polyfit(np.log(counts), np.log(np.maximum(ratios, 1e-6)), 1)[0])


def gaps(trial: Trial, builders: Mapping[str, Callable[..., Autoencoder]]) -> dict[str, float]:
    """Train on images, and estimate -log p(x) and KL(q(z | x) || p(z | x)) of test images, in nats."""
    budget, numbers = trial.budget, {}
    data = reduced(trial.data, rows=budget["rows"], tests=budget["tests"])
    for name, builder in builders.items():
        model = trial.build(builder, spec=data.spec, latent=16, net="mlp:100")
        trial.fit(model, data.train, lr=3e-3)
        weights = importance_weights(model, data.test.all(), budget["importance"], chunk=50)
        nll = math.log(len(weights)) - weights.logsumexp(0)
        numbers[f"{name}/nll"] = float(nll.mean())
        numbers[f"{name}/gap"] = float((-weights.mean(0) - nll).mean())
    return numbers
