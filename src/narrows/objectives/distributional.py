"""The distributional sliced Wasserstein distance: one-dimensional transports along the directions that differ most."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.optim import Adam

from narrows.core.check import number, whole
from narrows.objectives.sliced import directions, sliced_wasserstein

__all__ = ["Slicer", "distributional_distance"]


class Slicer(nn.Module):
    r"""A distribution of directions, learned to tell two samples apart.

    .. math:: \max_A \; SW_2(a, b; \theta) - \lambda\, E|\theta^T \theta'|,\qquad
              \theta = A u / \|A u\|,\quad u \sim \text{uniform on the sphere}

    The second term keeps the directions apart: without it the distance would be that along the single worst one.

    Args:
        size: number of values of a point, D.
        slices: number of directions at once, L.
        apart: lambda.
        lr: learning rate of A.

    Raises:
        RequestError: an argument out of range.
    """

    def __init__(self, size: int, slices: int = 64, apart: float = 10.0, lr: float = 5e-3) -> None:
        super().__init__()
        self.size, self.slices = whole("size", size), whole("slices", slices)
        self.apart = number("apart", apart, low=0)
        self.map = nn.Linear(size, size, bias=False)
        nn.init.eye_(self.map.weight)
        self.optimizer = Adam(self.parameters(), lr)

    def forward(self) -> Tensor:
        """Directions, unit vectors (L, D)."""
        return normalize(self.map(directions(self.slices, self.size, self.map.weight)), dim=1)

    def learn(self, a: Tensor, b: Tensor, steps: int) -> None:
        """Train the directions on two samples (n, D).

        Args:
            a: the first sample, which gets no gradient.
            b: the second sample.
            steps: optimizer steps.
        """
        a, b = a.detach(), b.detach()
        for _ in range(steps):
            theta = self()
            loss = self.apart * (theta @ theta.T).abs().mean() - _root(sliced_wasserstein(a, b, theta))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """The root of the mean squared transport along fresh directions, with gradients for both samples."""
        with torch.no_grad():
            theta = self()
        return _root(sliced_wasserstein(a, b, theta))


def distributional_distance(
    a: Tensor, b: Tensor, *, slices: int = 64, apart: float = 10.0, steps: int = 100
) -> float:
    r"""The distributional sliced Wasserstein distance of order 2 of two samples of equal size.

    .. math:: DSW_2 = \sup_{\sigma:\; E|\theta^T \theta'| \le C}
              \left( E_{\theta \sim \sigma} W_2^2(\theta^T a, \theta^T b) \right)^{1/2}

    The bound C is a penalty, and the supremum is over the distributions of a `Slicer`.

    Args:
        a: (n, D).
        b: (n, D).
        slices: number of directions, L.
        apart: weight of the penalty.
        steps: steps that the directions are trained for; with 0 it is the sliced Wasserstein distance.

    Example:
        >>> distributional_distance(torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [1.0]]))
        1.0

    Reference:
        Nguyen, Ho, Pham, Bui, Distributional Sliced-Wasserstein and Applications to Generative Modeling, 2021.
        arXiv:2002.07367
    """
    slicer = Slicer(a.shape[1], slices, apart).to(a)
    with torch.enable_grad():
        slicer.learn(a, b, steps)
    with torch.no_grad():
        return float(slicer.distance(a, b))


def _root(squared: Tensor) -> Tensor:
    return squared.clamp_min(1e-12).sqrt()
