"""The optimum of a linear VAE in closed form: rates of the latents, decoder variance, and where latents collapse."""

from __future__ import annotations

import numpy as np

__all__ = ["critical_beta", "linear_optimum", "linear_variance"]


def linear_optimum(values: np.ndarray, latent: int, noise: float) -> np.ndarray:
    r"""The rates of the latents at the optimum of a linear VAE, largest first, (Z,).

    .. math:: R_i = \max(0, \tfrac12 \log(l_i / \beta v))

    Args:
        values: l, the eigenvalues of the covariance of what is decoded, given what the decoder is told.
        latent: Z.
        noise: beta v, the weight of the divergence times the decoder's variance.

    Example:
        >>> linear_optimum(np.array([4.0, 1.0, 0.1]), 2, 1.0).round(3).tolist()
        [0.693, 0.0]

    Reference:
        Lucas, Tucker, Grosse, Norouzi, Don't Blame the ELBO!, 2019. arXiv:1911.02469. Dang et al., Beyond Vanilla
        Variational Autoencoders, 2023. arXiv:2306.05023
    """
    rates = np.zeros(latent)
    largest = np.sort(values)[::-1][:latent]
    rates[: len(largest)] = np.maximum(0, 0.5 * np.log(np.maximum(largest, 1e-300) / noise))
    return rates


def linear_variance(values: np.ndarray, latent: int, beta: float) -> float:
    r"""The variance of the decoder at the optimum of a linear VAE that learns one variance for all elements.

    .. math:: \min_v\ \frac{D}{2} \log v + \sum_i r_i,\qquad
              r_i = \frac{\beta}{2} + \frac{\beta}{2} \log \frac{l_i}{\beta v} \quad (i \le Z,\ l_i > \beta v),\qquad
              r_i = \frac{l_i}{2v} \quad \text{(others)}

    A latent that is used leaves the error beta v in its direction. Between two thresholds l_i / beta, with k latents in
    use, the minimum is at v = sum of the other eigenvalues / (D - k beta); with beta = 1 and k = Z it is that of
    probabilistic PCA.

    Args:
        values: l, the eigenvalues of the covariance of the D elements.
        latent: Z.
        beta: the weight of the divergence.

    Returns:
        The variance v; 0 if the values have no more than Z directions.

    Example:
        >>> linear_variance(np.array([9.0, 3.0, 1.0]), 1, 1.0)
        2.0

    Reference:
        Tipping, Bishop, Probabilistic Principal Component Analysis, 1999 (beta = 1).
    """
    values = np.sort(np.maximum(values, 0))[::-1]
    size, kept = len(values), np.arange(min(latent, len(values)) + 1)
    rest = values.sum() - np.concatenate([[0.0], np.cumsum(values)])[kept]
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = np.where(size > beta * kept, rest / (size - beta * kept), 0.0)
    candidates = np.concatenate([inner, values[: kept[-1]] / beta])
    candidates = candidates[candidates > 1e-12 * max(values[0], 1e-300)]
    if not len(candidates) or rest[-1] <= 1e-12 * values.sum():
        return 0.0
    losses = [_loss(values, latent, beta, v) for v in candidates]
    return float(candidates[int(np.argmin(losses))])


def _loss(values: np.ndarray, latent: int, beta: float, variance: float) -> float:
    """The loss at the best linear encoder and decoder of a variance, without constants."""
    used = (values > beta * variance) & (np.arange(len(values)) < latent)
    rates = 0.5 * np.log(np.maximum(values, 1e-300) / (beta * variance))
    nats = np.where(used, beta * (0.5 + rates), 0.5 * values / variance)
    return float(nats.sum() + 0.5 * len(values) * np.log(variance))


def critical_beta(values: np.ndarray, latent: int, variance: float | None = None) -> float:
    r"""The weight of the divergence below which a linear VAE uses all of its latents.

    .. math:: \beta < \frac{l_Z}{v},\qquad \text{or, where v is learned,}\quad
              \beta < \frac{D\, l_Z}{\sum_{i > Z} l_i + Z\, l_Z}

    Args:
        values: l, the eigenvalues of the covariance of the D elements.
        latent: Z.
        variance: v, that of the decoder; None if it is learned.

    Returns:
        The weight; 0 if the data have fewer than Z directions.

    Example:
        >>> critical_beta(np.array([9.0, 3.0, 1.0]), 1), critical_beta(np.array([9.0, 3.0, 1.0]), 2, 0.5)
        (2.076923076923077, 6.0)
    """
    values = np.sort(np.maximum(values, 0))[::-1]
    if latent > len(values) or values[latent - 1] <= 1e-12 * values[0]:
        return 0.0
    last = float(values[latent - 1])
    if variance is not None:
        return last / variance
    return len(values) * last / float(values[latent:].sum() + latent * last)
