"""A normal distribution of vectors with missing entries: the linear baseline."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Normal"]

_RIDGE = 1e-3
"""Added to the variances, so that columns that determine each other can be inverted."""

_CHUNK = 128


class Normal(NamedTuple):
    """Mean (W,) and covariance (W, W)."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, x: Tensor, there: Tensor) -> Normal:
        """Means of observed entries, and covariances over the rows that have both; eigenvalues are not negative.

        Args:
            x: vectors, (N, W) float64.
            there: which entries are observed, (N, W).

        Example:
            >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double()
            >>> Normal.of(x, x > 0).mean.tolist()
            [2.0, 3.0]
        """
        seen = there.double()
        mean = (x * seen).sum(0) / seen.sum(0).clamp_min(1)
        centred = torch.where(there, x - mean, 0)
        covariance = centred.T @ centred / (seen.T @ seen).clamp_min(1)
        values, vectors = torch.linalg.eigh(covariance)
        covariance = (vectors * values.clamp_min(0)) @ vectors.T
        return cls(mean, covariance + _RIDGE * torch.eye(len(mean), dtype=x.dtype))

    def complete(self, x: Tensor, there: Tensor) -> Tensor:
        r"""Missing entries by their mean given the observed ones of the row.

        .. math:: E[x^m \mid x^o] = \mu_m + \Sigma_{mo} \Sigma_{oo}^{-1} (x^o - \mu_o)

        Args:
            x: vectors, (N, W) float64.
            there: which entries are observed, (N, W).
        """
        parts = []
        for some, seen in zip(x.split(_CHUNK), there.split(_CHUNK), strict=True):
            o = seen.double()
            # rows and columns of missing entries are those of the identity, so that all rows are solved at once
            matrix = self.covariance * o[:, :, None] * o[:, None, :] + torch.diag_embed(1 - o)
            solved = torch.linalg.solve(matrix, torch.where(seen, some - self.mean, 0))
            parts.append(torch.where(seen, some, self.mean + (solved * o) @ self.covariance))
        return torch.cat(parts) if parts else x

    def distances(self, x: Tensor, there: Tensor) -> Tensor:
        r"""The squared Mahalanobis distance of the observed entries, over their number, (N,)."""
        if bool(there.all()):
            away = x - self.mean
            return (torch.linalg.solve(self.covariance, away.T).T * away).mean(1)
        parts = []
        for some, seen in zip(x.split(_CHUNK), there.split(_CHUNK), strict=True):
            o = seen.double()
            matrix = self.covariance * o[:, :, None] * o[:, None, :] + torch.diag_embed(1 - o)
            away = torch.where(seen, some - self.mean, 0)
            parts.append((torch.linalg.solve(matrix, away) * away).sum(1) / o.sum(1).clamp_min(1))
        return torch.cat(parts)

    def draw(self, n: int, seed: int) -> Tensor:
        """n vectors, (n, W)."""
        noise = torch.randn(
            n, len(self.mean), generator=torch.Generator().manual_seed(seed), dtype=torch.double
        )
        return self.mean + noise @ torch.linalg.cholesky(self.covariance).T
