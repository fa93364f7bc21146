"""The sliced Wasserstein distance between a batch of codes and draws of the prior."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize

from narrows.core import Autoencoder, Objective, Pass
from narrows.core.check import whole
from narrows.core.schedules import Schedule

__all__ = ["SlicedWasserstein", "directions", "sliced_wasserstein"]


def directions(count: int, size: int, like: Tensor) -> Tensor:
    """Random unit vectors, (count, size), uniform on the sphere."""
    return normalize(torch.randn(count, size, dtype=like.dtype, device=like.device), dim=1)


def sliced_wasserstein(a: Tensor, b: Tensor, slices: Tensor) -> Tensor:
    r"""The squared sliced Wasserstein distance of order 2 of two samples of equal size.

    .. math:: SW_2^2 = \frac{1}{L n} \sum_{l=1}^L \sum_{i=1}^n
              \big( (\theta_l^T a)_{(i)} - (\theta_l^T b)_{(i)} \big)^2

    In one dimension the optimal transport of two samples maps sorted values to sorted values.

    Args:
        a: (n, Z).
        b: (n, Z).
        slices: unit vectors theta, (L, Z).

    Example:
        >>> float(sliced_wasserstein(torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [1.0]]), torch.ones(1, 1)))
        1.0

    Reference:
        Rabin et al., Wasserstein Barycenter and its Application to Texture Mixing, 2011.
    """
    return ((a @ slices.T).sort(0).values - (b @ slices.T).sort(0).values).square().mean()


class SlicedWasserstein(Objective):
    r"""Distortion plus lambda times the squared sliced Wasserstein distance of the codes from the prior.

    .. math:: E[c(x, G(z))] + \lambda\, SW_2^2(q(z), p(z))

    The prior may be any distribution that can be sampled: it needs no density. Draws and directions are new at each
    step.

    Args:
        weight: lambda, for the batch as a whole.
        slices: number of directions, L.
        least_batch: the smallest batch that is trained on, for example the width of the code: fewer points say
            little of a distribution.

    Raises:
        RequestError: `slices` or `least_batch` below 1.

    Reference:
        Kolouri et al., Sliced-Wasserstein Autoencoder, 2018. arXiv:1804.01947
    """

    def __init__(self, weight: Schedule = 10.0, slices: int = 50, least_batch: int = 1) -> None:
        super().__init__(weights={"sw": weight})
        self.slices, self.least_batch = whole("slices", slices), whole("least_batch", least_batch)

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The distance, a scalar."""
        z: Tensor = passed.code.z.flatten(0, -2)
        drawn = model.bottleneck.sample(len(z)).z
        return {"sw": sliced_wasserstein(z, drawn, directions(self.slices, z.shape[1], z))}
