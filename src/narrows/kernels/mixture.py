"""Mixtures of Gaussians: densities, draws, and maximum likelihood by expectation-maximisation, in float64."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Mixture", "fit_mixture"]

_TINY = 1e-12
"""Added to the number of rows of a component, which may have none."""


class Mixture(NamedTuple):
    """A mixture of K Gaussians.

    Args:
        weights: probabilities of the components, (K,).
        means: (K, Z).
        factors: lower Cholesky factors of the covariances, (K, Z, Z).
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    def joint(self, x: Tensor) -> Tensor:
        """log p(component, x) for rows (N, Z), in nats, (N, K)."""
        found = []
        for weight, mean, factor in zip(*self, strict=True):  # a loop, so that memory is N Z, not N K Z
            white = torch.linalg.solve_triangular(factor, (x - mean).T, upper=False)
            log_det = factor.diagonal().log().sum() + 0.5 * len(mean) * math.log(2 * math.pi)
            found.append(weight.log() - log_det - 0.5 * white.square().sum(0))
        return torch.stack(found, 1)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) of rows (N, Z), in nats, (N,).

        Example:
            >>> one = torch.eye(1).double()
            >>> Mixture(torch.ones(1).double(), 0 * one, one[None]).log_prob(0 * one)
            tensor([-0.9189], dtype=torch.float64)
        """
        return self.joint(x).logsumexp(1)

    def sample(self, n: int) -> Tensor:
        """n draws, (n, Z)."""
        chosen = torch.multinomial(self.weights, n, replacement=True)
        noise = torch.randn(n, self.means.shape[1], dtype=self.means.dtype, device=self.means.device)
        x = self.means[chosen]
        for k in chosen.unique().tolist():
            rows = chosen == k
            x[rows] += noise[rows] @ self.factors[k].T
        return x


def fit_mixture(
    x: Tensor,
    chances: Tensor,
    *,
    diagonal: bool = False,
    least: float = 1e-6,
    tolerance: float = 1e-3,
    iterations: int = 100,
) -> Mixture:
    r"""Maximum likelihood of a mixture of Gaussians by expectation-maximisation.

    .. math:: r_{nk} \propto \pi_k N(x_n \mid m_k, S_k),\quad
              \pi_k = \bar r_k,\quad m_k = \frac{\sum_n r_{nk} x_n}{\sum_n r_{nk}},\quad
              S_k = \frac{\sum_n r_{nk} (x_n - m_k)(x_n - m_k)^T}{\sum_n r_{nk}} + \epsilon I

    Args:
        x: rows (N, Z).
        chances: initial probabilities of the components for each row, (N, K).
        diagonal: diagonal covariances.
        least: epsilon, a variance that is added to all covariances.
        tolerance: it ends when the mean log-likelihood increases by less than this, in nats.
        iterations: the maximum number of iterations.

    Example:
        >>> rows = torch.tensor([[-1.0], [1.0], [8.0], [12.0]])
        >>> found = fit_mixture(rows, torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]))
        >>> found.weights.round(decimals=3).tolist(), found.means.flatten().abs().round(decimals=3).tolist()
        ([0.5, 0.5], [0.0, 10.0])

    Reference:
        Dempster, Laird and Rubin, Maximum Likelihood from Incomplete Data via the EM Algorithm, 1977.
    """
    x, before = x.double(), -math.inf
    found = _maximised(x, chances.double(), diagonal, least)
    for _ in range(iterations):
        joint = found.joint(x)
        total = joint.logsumexp(1, keepdim=True)
        found = _maximised(x, (joint - total).exp(), diagonal, least)
        mean = float(total.mean())
        if mean - before < tolerance:
            break
        before = mean
    return found


def _maximised(x: Tensor, chances: Tensor, diagonal: bool, least: float) -> Mixture:
    """The mixture of greatest likelihood for given probabilities of the components."""
    counts = chances.sum(0) + _TINY
    means = chances.T @ x / counts[:, None]
    factors = []
    for chance, mean, count in zip(chances.T, means, counts, strict=True):
        away = x - mean
        if diagonal:
            factors.append(torch.diag((chance @ away.square() / count + least).sqrt()))
            continue
        covariance = (chance[:, None] * away).T @ away / count
        covariance.diagonal().add_(least)
        factors.append(torch.linalg.cholesky(covariance))
    return Mixture(counts / counts.sum(), means, torch.stack(factors))
