"""The importance-weighted likelihood of a model with a posterior, in nats."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from narrows.core import Autoencoder, Batch, Pass, evaluation_mode, seeded
from narrows.core.check import RequestError, whole

__all__ = ["importance_nll", "importance_weights", "predictive_nll", "rate_of"]


def importance_nll(
    model: Autoencoder, batch: Batch, samples: int = 100, seed: int = 0, chunk: int = 16
) -> Tensor:
    r"""The importance-weighted estimate of -log p(x), an upper bound that tightens with the samples.

    .. math:: -\log \frac{1}{K} \sum_k \frac{p(x \mid z_k)\, p(z_k)}{q(z_k \mid x)}, \quad z_k \sim q(z \mid x)

    Args:
        model: an autoencoder whose code has a rate (a posterior and a prior); its mode is restored afterwards.
        batch: B examples.
        samples: K, the number of codes drawn for each example.
        seed: of the draws; equal seeds and chunks give equal draws.
        chunk: how many of the K codes are held in memory at once.

    Returns:
        Nats, (B,), on the model's device.

    Raises:
        RequestError: the code has no rate, and so no likelihood.

    Reference:
        Burda, Grosse, Salakhutdinov, Importance Weighted Autoencoders (2016), arXiv 1509.00519.
    """
    weights = importance_weights(model, batch, samples, seed, chunk)
    return math.log(samples) - weights.logsumexp(0)


@torch.no_grad()
def predictive_nll(model: Autoencoder, batch: Batch, samples: int = 100, seed: int = 0) -> Tensor:
    r"""-log p(y | x) of a model that predicts a target, over draws of its code.

    .. math:: -\log \frac{1}{K} \sum_k p(y \mid z_k), \quad z_k \sim q(z \mid x)

    Args:
        model: a `Predictor`; its mode is restored afterwards.
        batch: B examples.
        samples: K, the number of codes drawn for each example.
        seed: of the draws.

    Returns:
        Nats, (B,), on the model's device.
    """
    samples = whole("samples", samples)
    with evaluation_mode(model), seeded(seed):
        nll = model.likelihood.pass_nll(model(batch, (samples,)))
    return math.log(samples) - (-nll).logsumexp(0)


@torch.no_grad()
def importance_weights(
    model: Autoencoder, batch: Batch, samples: int = 100, seed: int = 0, chunk: int = 16
) -> Tensor:
    """log p(x, z) - log q(z | x) at K codes drawn from the posterior of each example, (K, B), on the model's device.

    Arguments and errors are those of `importance_nll`.
    """
    samples, chunk = whole("samples", samples), whole("chunk", chunk)
    training = model.training
    model.eval()
    parts = []
    try:
        with seeded(seed):
            for start in range(0, samples, chunk):
                parts.append(_log_weights(model, batch, min(chunk, samples - start)))
    finally:
        model.train(training)
    return torch.cat(parts)


def _log_weights(model: Autoencoder, batch: Batch, samples: int) -> Tensor:
    """log p(x, z) - log q(z | x) at drawn z, (K, B)."""
    passed = model(batch, (samples,))
    return -(model.likelihood.pass_nll(passed) + rate_of(passed))


def rate_of(passed: Pass) -> Tensor:
    """log q(z | x) - log p(z) at the drawn z, (K, B).

    Raises:
        RequestError: the code has no rate.
    """
    rate = passed.code.rate
    if rate is None:
        raise RequestError(
            "This model's code has no posterior and no prior, so it has no importance-weighted likelihood. "
            "Use its reconstruction error instead, or fit a method with a posterior (such as `vae`)."
        )
    return rate
