"""Spectral normalisation of the layers of a net."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.parametrize import register_parametrization

from narrows.core import Part
from narrows.core.reference import ModuleReference

__all__ = ["SpectralNorm", "spectral_norm"]

_FIRST = 20
"""Iterations of the power method before the first step."""


class SpectralNorm(Part):
    r"""A weight divided by its largest singular value, which the power method follows by one iteration a step.

    .. math:: \bar W = W / \sigma(W),\quad \sigma(W) = u^T W v,\quad
              v \leftarrow W^T u / \|W^T u\|,\quad u \leftarrow W v / \|W v\|

    A convolution is normalised as the matrix of its output channels by all else. u and v are constants for the
    gradient. torch's own parametrisation updates them in the forward pass, where evaluating a loss would change it.

    Args:
        layer: the layer, whose ``weight`` is parametrised.

    Reference:
        Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018. arXiv:1802.05957
    """

    u: Tensor
    v: Tensor

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = ModuleReference(layer)
        weight = layer.weight.detach().flatten(1)
        self.register_buffer("u", normalize(torch.randn(weight.shape[0]), dim=0))
        self.register_buffer("v", normalize(torch.randn(weight.shape[1]), dim=0))
        self._iterate(weight, _FIRST)

    def forward(self, weight: Tensor) -> Tensor:
        """The normalised weight."""
        return weight / (self.u @ weight.flatten(1) @ self.v)

    @torch.no_grad()
    def before_step(self, step: int) -> None:
        """One iteration of the power method."""
        self._iterate(self.layer.module.parametrizations.weight.original.flatten(1), 1)

    def _iterate(self, weight: Tensor, iterations: int) -> None:
        for _ in range(iterations):
            self.v.copy_(normalize(weight.T @ self.u, dim=0))
            self.u.copy_(normalize(weight @ self.v, dim=0))


def spectral_norm(net: nn.Module) -> nn.Module:
    """Normalise every linear and convolutional layer of a net, in place.

    Example:
        >>> net = spectral_norm(nn.Sequential(nn.Linear(3, 5)))
        >>> round(float(torch.linalg.matrix_norm(net[0].weight.detach(), 2)), 3)
        1.0
    """
    layers = [
        m for m in net.modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d))
    ]
    for layer in layers:
        register_parametrization(layer, "weight", SpectralNorm(layer))
    return net
