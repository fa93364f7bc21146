"""Gradients of strongly convex networks, and maps that do not bring points nearer by more than a factor."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Condition
from narrows.core.check import number, refuse, whole

__all__ = ["ConvexGradient", "InverseLipschitz"]


class ConvexGradient(nn.Module):
    r"""The gradient of an input-convex network plus a quadratic function: a strongly monotone map.

    .. math:: g(u) = \nabla \varphi(u),\qquad
              \varphi(u) = a^T h_K + c^T u + \tfrac{L}{2} \|u\|^2,\qquad
              h_k = \mathrm{softplus}(V_k h_{k-1} + W_k u + b_k)

    The elements of V and a are positive, those of V of the order of 1 / fan-in. The softplus is convex, increasing and
    smooth: with a ReLU, g would be piecewise constant at L = 0. The gradient is computed by the chain rule, without
    autograd, so that it needs no graph where nothing is trained.

    Args:
        width: size of u, D.
        convexity: L.
        hidden: width of each hidden layer.
        layers: number of hidden layers, K.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> g, u, v = ConvexGradient(3, 0.5), torch.randn(4, 3), torch.randn(4, 3)
        >>> bool((((g(u) - g(v)) * (u - v)).sum(1) >= 0.5 * (u - v).square().sum(1)).all())
        True

    Reference:
        Amos, Xu, Kolter, Input Convex Neural Networks, 2017. arXiv:1609.07152
    """

    def __init__(self, width: int, convexity: float = 0.0, hidden: int = 128, layers: int = 2) -> None:
        super().__init__()
        whole("width", width)
        hidden, layers = whole("hidden", hidden), whole("layers", layers)
        self.convexity = number("convexity", convexity, low=0)
        self.inputs = nn.ModuleList(nn.Linear(width, hidden) for _ in range(layers))
        for layer in self.inputs:
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight, std=1 / math.sqrt(hidden))  # the convexity is then near L
            nn.init.zeros_(layer.bias)
        self.mixing = nn.ParameterList(torch.randn(hidden, hidden) for _ in range(layers - 1))
        self.weights = nn.Parameter(torch.zeros(hidden))
        self.shift = nn.Parameter(torch.zeros(width))
        with torch.no_grad():
            self.shift.sub_(self(torch.zeros(width)))  # g(0) = 0

    def _positive(self) -> list[Tensor]:
        """V of each layer but the first."""
        return [F.softplus(raw) / raw.shape[1] for raw in self.mixing]

    def _before(self, u: Tensor, positive: list[Tensor]) -> list[Tensor]:
        """The hidden layers before their softplus."""
        found: list[Tensor] = [self.inputs[0](u)]
        for layer, v in zip(list(self.inputs)[1:], positive, strict=True):
            found.append(layer(u) + F.softplus(found[-1]) @ v.T)
        return found

    def potential(self, u: Tensor) -> Tensor:
        """The convex function, (..., D) to (...)."""
        last = F.softplus(self._before(u, self._positive())[-1])
        value = last @ F.softplus(self.weights) + u @ self.shift
        return value + 0.5 * self.convexity * u.square().sum(-1)

    def forward(self, u: Tensor) -> Tensor:
        """The gradient of the convex function, (..., D) to (..., D)."""
        positive = self._positive()
        before = self._before(u, positive)
        back = F.softplus(self.weights) * before[-1].sigmoid()
        found = self.shift + self.convexity * u
        for k in reversed(range(len(before))):
            layer = self.inputs[k]
            assert isinstance(layer, nn.Linear)
            found = found + back @ layer.weight
            if k:
                back = (back @ positive[k - 1]) * before[k - 1].sigmoid()
        return found


class InverseLipschitz(nn.Module):
    r"""A decoder whose outputs are at least L^2 times as far from each other as the codes.

    .. math:: f(z) = g_2(B\, g_1(z)),\quad B^T = [I, 0],\qquad
              \|f(z) - f(z')\| \ge L^2\, \|z - z'\|

    Each g is a `ConvexGradient`; B appends zeros to a vector of Z numbers.

    Args:
        latent: width of the code, Z.
        shape: shape of one output, of at least Z numbers.
        convexity: L.
        hidden: width of each hidden layer of both convex functions.
        layers: number of hidden layers of each.

    Raises:
        RequestError: an argument out of range, or a code of more numbers than an output.

    Example:
        >>> InverseLipschitz(2, (1, 3, 3), 0.5)(torch.zeros(5, 4, 2)).shape
        torch.Size([5, 4, 1, 3, 3])

    Reference:
        Kinoshita, Oono, Fukumizu, Yoshida, Maeda, Controlling Posterior Collapse by an Inverse Lipschitz Constraint
        on the Decoder Network, 2023. arXiv:2304.12770
    """

    def __init__(
        self,
        latent: int,
        shape: tuple[int, ...],
        convexity: float = 0.0,
        hidden: int = 128,
        layers: int = 2,
    ) -> None:
        super().__init__()
        size = math.prod(shape)
        if whole("latent", latent) > size:
            most = f"at most {size}, the size of an output"
            raise refuse("latent", latent, most, "The decoder maps different codes to different outputs.")
        self.shape, self.padding = tuple(shape), size - latent
        self.first = ConvexGradient(latent, convexity, hidden, layers)
        self.second = ConvexGradient(size, convexity, hidden, layers)

    @property
    def bound(self) -> float:
        """The least ratio of distances of outputs and codes, L^2."""
        return self.first.convexity * self.second.convexity

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, Z) -> (*samples, B, *shape)."""
        found: Tensor = self.second(F.pad(self.first(z), (0, self.padding)))
        return found.unflatten(-1, self.shape)
