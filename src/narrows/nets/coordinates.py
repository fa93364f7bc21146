"""Coordinate networks: functions of a position and, optionally, of a code."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from narrows.core.check import number, whole
from narrows.core.spelling import Table
from narrows.nets.mlp import initialise

__all__ = ["COORDINATES", "CoordinateNet", "Coordinates", "Fourier", "Siren"]

COORDINATES: Table[Coordinates] = Table(
    "coordinates",
    "narrows.nets.coordinates:Coordinates",
    {"fourier": "narrows.nets.coordinates:Fourier", "siren": "narrows.nets.coordinates:Siren"},
    supplied=("k",),
)
"""The coordinate features that a text can name."""


class Coordinates(nn.Module):
    """The features of positions that the first layer reads, and the activation between the layers.

    Args:
        k: dimension of a position.
        width: number of features.
    """

    def __init__(self, k: int, width: int) -> None:
        super().__init__()
        self.k, self.width = k, width

    def activation(self) -> nn.Module:
        """The activation between the layers."""
        return nn.SiLU()

    def forward(self, y: Tensor) -> Tensor:
        """(..., k) -> (..., width)."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")


class Fourier(Coordinates):
    r"""Random Fourier features of positions, with the positions themselves.

    .. math:: \gamma(y) = (y, \cos 2\pi B y, \sin 2\pi B y),\quad B_{ij} \sim N(0, s^2)

    Args:
        k: dimension of a position.
        scale: s, in cycles across the domain; a smaller value gives smoother functions.
        frequencies: the number of rows of B.

    Example:
        >>> Fourier(2, frequencies=8)(torch.zeros(5, 2)).shape
        torch.Size([5, 18])

    Reference:
        Tancik and others, Fourier Features Let Networks Learn High Frequency Functions, 2020.
        arXiv:2006.10739
    """

    matrix: Tensor

    def __init__(self, k: int, scale: float = 3.0, frequencies: int = 64) -> None:
        super().__init__(k, k + 2 * whole("frequencies", frequencies))
        self.register_buffer("matrix", torch.randn(k, frequencies) * number("scale", scale, low=1e-6))

    def forward(self, y: Tensor) -> Tensor:
        """(..., k) -> (..., k + 2 frequencies)."""
        angle = 2 * math.pi * (y @ self.matrix)
        return torch.cat([y, angle.cos(), angle.sin()], -1)


class Sine(nn.Module):
    """The activation sin(w0 x).

    Args:
        w0: the frequency factor.
    """

    def __init__(self, w0: float) -> None:
        super().__init__()
        self.w0 = w0

    def forward(self, x: Tensor) -> Tensor:
        """Apply the sine elementwise."""
        return torch.sin(self.w0 * x)


class Siren(Coordinates):
    r"""Positions rescaled to [-1, 1], for layers with sine activations :math:`a(x) = \sin w_0 x`.

    Args:
        k: dimension of a position.
        w0: the frequency factor; a smaller value gives smoother functions.

    Example:
        >>> Siren(2)(torch.zeros(5, 2))[0]
        tensor([-1., -1.])

    Reference:
        Sitzmann and others, Implicit Neural Representations with Periodic Activation Functions, 2020.
        arXiv:2006.09661
    """

    def __init__(self, k: int, w0: float = 30.0) -> None:
        super().__init__(k, k)
        self.w0 = number("w0", w0, low=1e-6)

    def activation(self) -> nn.Module:
        """A sine."""
        return Sine(self.w0)

    def forward(self, y: Tensor) -> Tensor:
        """(..., k) -> (..., k)."""
        return 2 * y - 1


class CoordinateNet(nn.Module):
    r"""A function of a position and, optionally, of a code that is added to its layers.

    .. math:: h_{l+1} = a(W_l h_l + V_l z_l + b_l),\quad h_0 = \gamma(y)

    Args:
        k: dimension of a position.
        out: number of outputs at each point.
        hidden: widths of the hidden layers.
        coordinates: features of positions: ``fourier``, ``siren`` (see `COORDINATES`).
        code: widths of the parts of the code that are added to each layer, starting with the first.

    Example:
        >>> net = CoordinateNet(2, 3, (16, 16), "fourier:scale=2", code=(4, 4))
        >>> net(torch.zeros(1, 9, 2), torch.zeros(5, 7, 8)).shape
        torch.Size([5, 7, 9, 3])
    """

    def __init__(
        self,
        k: int,
        out: int,
        hidden: Sequence[int] = (256,),
        coordinates: str = "fourier",
        code: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.code = tuple(code)
        self.features = COORDINATES.make(coordinates, k=k)
        self.activation = self.features.activation()
        widths = (self.features.width, *hidden, out)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.told = nn.ModuleList(
            nn.Linear(z, wide, bias=False) if z else nn.Identity()
            for z, wide in zip(self.code, widths[1:], strict=False)
        )
        self._initialise()

    def _initialise(self) -> None:
        """He's initialisation; for sine activations, that of SIREN."""
        if not isinstance(self.activation, Sine):
            initialise(self)
            return
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            n = layer.in_features
            bound = 1 / n if i == 0 else math.sqrt(6 / n) / self.activation.w0
            nn.init.uniform_(layer.weight, -bound, bound)

    @property
    def last(self) -> nn.Linear:
        """The last layer, which reads the output of `inner`."""
        layer = self.layers[-1]
        assert isinstance(layer, nn.Linear)
        return layer

    def inner(self, y: Tensor) -> Tensor:
        """The last hidden layer of a net without code at positions (..., k)."""
        h = self.features(y)
        for layer in self.layers[:-1]:
            h = self.activation(layer(h))
        return h

    def forward(self, y: Tensor, z: Tensor | None = None) -> Tensor:
        """Positions (B or 1, Q, k) and codes (*samples, B, Z) -> (*samples, B, Q, out)."""
        h = self.features(y)
        parts = () if z is None else z.split(self.code, -1)
        for i, layer in enumerate(self.layers):
            h = layer(self.activation(h) if i else h)
            if i < len(parts) and self.code[i]:
                h = h + self.told[i](parts[i]).unsqueeze(-2)
        return h
