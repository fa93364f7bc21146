"""Nets for functions: from a set of points with values to a vector, and from a vector to values at any point.

Positions lie in the unit cube, (B, P, k). Where all examples of a batch have the same points, positions are expanded
with stride 0, and what depends on them alone is computed once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from narrows.core.check import number, refuse, whole
from narrows.core.spelling import Table
from narrows.kernels.quadrature import normalised
from narrows.nets.mlp import initialise
from narrows.nets.skip import SkipMLP

__all__ = [
    "COORDINATES",
    "DECODERS",
    "CoordinateNet",
    "Coordinates",
    "FieldEncoder",
    "Fourier",
    "LinearDecoder",
    "NonlinearDecoder",
    "Siren",
]

COORDINATES: Table[Coordinates] = Table(
    "coordinates",
    "narrows.nets.field:Coordinates",
    {"fourier": "narrows.nets.field:Fourier", "siren": "narrows.nets.field:Siren"},
    given=("k",),
)
"""How a net reads positions, by name."""

DECODERS = ("linear", "concat", "split")
"""How a decoder uses the code: as weights of modes, at its first layer, or a share of it at each."""


def points(condition: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor | None]:
    """Positions (B or 1, P, k) and their mask (B, P), or None where all are there.

    Positions that all examples share come once. Where no point is, the position is 0 and never read.
    """
    y, mask = condition[name], condition.get("mask" if name == "positions" else f"{name}_mask")
    together = len(y) > 1 and y.stride(0) == 0
    y = y[:1] if together else y
    if mask is None:
        return y, None
    there = mask.any(0, keepdim=True) if together else mask
    return torch.where(there[..., None], y, 0.0), mask


class Coordinates(nn.Module):
    """How a net reads positions: what its first layer sees of them, and what stands between its layers.

    Args:
        k: how many coordinates a position has.
        width: how many numbers the first layer sees.
    """

    def __init__(self, k: int, width: int) -> None:
        super().__init__()
        self.k, self.width = k, width

    def activation(self) -> nn.Module:
        """What stands between the layers."""
        return nn.SiLU()

    def forward(self, y: Tensor) -> Tensor:
        """(..., k) -> (..., width)."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")


class Fourier(Coordinates):
    r"""Random Fourier features of positions, with the positions themselves.

    .. math:: \gamma(y) = (y, \cos 2\pi B y, \sin 2\pi B y),\quad B_{ij} \sim N(0, s^2)

    Args:
        k: how many coordinates a position has.
        scale: s, in cycles across the domain; a smaller one gives smoother functions.
        frequencies: rows of B.

    Example:
        >>> Fourier(2, frequencies=8)(torch.zeros(5, 2)).shape
        torch.Size([5, 18])

    Reference:
        Tancik and others, Fourier Features Let Networks Learn High Frequency Functions, 2020. arXiv:2006.10739
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
    """The sine of a fast phase, sin(w0 x).

    Args:
        w0: the factor.
    """

    def __init__(self, w0: float) -> None:
        super().__init__()
        self.w0 = w0

    def forward(self, x: Tensor) -> Tensor:
        """Element by element."""
        return torch.sin(self.w0 * x)


class Siren(Coordinates):
    r"""Positions from -1 to 1, for layers of sines: :math:`a(x) = \sin w_0 x`.

    Args:
        k: how many coordinates a position has.
        w0: a factor of all phases; a smaller one gives smoother functions.

    Example:
        >>> Siren(2)(torch.zeros(5, 2))[0]
        tensor([-1., -1.])

    Reference:
        Sitzmann and others, Implicit Neural Representations with Periodic Activation Functions, 2020. arXiv:2006.09661
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
    r"""A function of a position, and of a code where one is told to its layers.

    .. math:: h_{l+1} = a(W_l h_l + V_l z_l + b_l),\quad h_0 = \gamma(y)

    Args:
        k: how many coordinates a position has.
        out: numbers at a point.
        hidden: widths of the hidden layers.
        coordinates: how positions are read: ``fourier``, ``siren`` (see `COORDINATES`).
        code: width of the code that each layer is told, from the first on.

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
        """He's initialisation, or, before sines, one that keeps phases of unit variance."""
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
        """The last layer, from what `inner` gives."""
        layer = self.layers[-1]
        assert isinstance(layer, nn.Linear)
        return layer

    def inner(self, y: Tensor) -> Tensor:
        """What the last layer of a net without code reads at positions (..., k)."""
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


class FieldEncoder(nn.Module):
    r"""From a function, known at some points, to a vector.

    .. math:: h_j = \sum_p w_p \left( \kappa_j(y_p) \cdot u(y_p) + \kappa'_j(y_p) \cdot 1 \right)
              \approx \int \kappa_j \cdot u + \kappa'_j \cdot 1 \, dy,\quad \mathrm{features} = g(h)

    It is a perceptron whose first layer is an integral, with a function of position in place of a weight matrix, so
    that number, place and order of the points may change. The second kernel tells where points were.

    Args:
        shape: points and channels of one example, (P, C); other numbers of points are welcome.
        k: how many coordinates a position has.
        out: width of the output.
        hidden: widths of the hidden layers behind the integral; a linear map stands beside them.
        width: how many integrals.
        coordinates: as of `CoordinateNet`.

    Reads from the condition: ``positions`` (B, P, k); ``mask`` (B, P) and ``observed`` (B, P, C), what is there;
    ``quadrature`` (B, P), the weights w, which are divided by their sum over the points that are there; without it,
    they are equal.

    Example:
        >>> net = FieldEncoder((64, 1), 1, 8)
        >>> y = torch.linspace(0, 1, 20).reshape(1, 20, 1).expand(5, 20, 1)
        >>> net(torch.zeros(5, 20, 1), {"positions": y}).shape
        torch.Size([5, 8])
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        k: int,
        out: int,
        hidden: Sequence[int] = (128,),
        width: int = 64,
        coordinates: str = "fourier",
    ) -> None:
        super().__init__()
        self.channels, self.width = shape[-1], whole("width", width)
        self.kernel = CoordinateNet(k, width * 2 * self.channels, (256,), coordinates)
        self.head = SkipMLP((width,), (out,), tuple(hidden))

    def forward(self, x: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Values (B, P, C) at ``condition["positions"]`` -> (B, out)."""
        y, _ = points(condition, "positions")
        weights = self.weights(x, condition)
        there = weights != 0
        weighed = weights.repeat(1, 1, 2) * torch.cat([torch.where(there, x, 0.0), there.to(x.dtype)], -1)
        kernel = self.kernel(y).unflatten(-1, (2 * self.channels, self.width))
        if len(kernel) == 1:
            pooled = weighed.flatten(1) @ kernel[0].flatten(0, 1)
        else:
            pooled = torch.einsum("bpc,bpch->bh", weighed, kernel)
        features: Tensor = self.head(pooled)
        return features

    @staticmethod
    def weights(x: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """The weights (B, P, C) of the values x: those of a channel sum to 1 over the points that are there."""
        there = torch.ones_like(x, dtype=torch.bool)
        if "mask" in condition:
            there = there & condition["mask"][..., None]
        if "observed" in condition:
            there = there & condition["observed"]
        weights = condition["quadrature"][..., None] if "quadrature" in condition else x.new_ones(())
        return normalised(torch.where(there, weights, 0.0), -2)


class _Decoder(nn.Module):
    """Finds the points at which the target is wanted: the queries, or else the positions."""

    def at(self, condition: Mapping[str, Tensor]) -> Tensor:
        return points(condition, "queries" if "queries" in condition else "positions")[0]


class LinearDecoder(_Decoder):
    r"""A mean function and a sum of learned modes, each a function of position.

    .. math:: f(y) = t_0(y) + \sum_k z_k\, t_k(y)

    Args:
        latent: width of the code, Z.
        channels: numbers at a point, C.
        k: how many coordinates a position has.
        hidden: widths of the hidden layers of the net behind t.
        coordinates: as of `CoordinateNet`.

    Example:
        >>> net = LinearDecoder(3, 1, 2)
        >>> net(torch.zeros(5, 3), {"positions": torch.rand(5, 9, 2)}).shape
        torch.Size([5, 9, 1])
    """

    def __init__(
        self,
        latent: int,
        channels: int,
        k: int,
        hidden: Sequence[int] = (256,),
        coordinates: str = "fourier",
    ) -> None:
        super().__init__()
        self.latent, self.channels = latent, channels
        self.net = CoordinateNet(k, (latent + 1) * channels, hidden, coordinates)

    def modes(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The mean function t_0 (..., Q, C) and the modes t_1 ... t_Z (..., Q, Z, C) at positions (..., Q, k)."""
        out = self.net(y).unflatten(-1, (self.latent + 1, self.channels))
        return out[..., 0, :], out[..., 1:, :]

    def forward(self, z: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """(*samples, B, Z) -> (*samples, B, Q, C)."""
        mean, modes = self.modes(self.at(condition))
        if len(modes) > 1:
            return mean + torch.einsum("...bz,bqzc->...bqc", z, modes)
        flat = z @ modes[0].transpose(0, 1).flatten(1)
        return mean + flat.unflatten(-1, mean.shape[-2:])


class NonlinearDecoder(_Decoder):
    r"""A net of position and code together: its functions lie on a manifold, not in a plane.

    Args:
        latent: width of the code, Z.
        channels: numbers at a point, C.
        k: how many coordinates a position has.
        split: give each layer a share of the code, instead of all of it to the first.
        hidden: widths of the hidden layers.
        coordinates: as of `CoordinateNet`.

    Example:
        >>> net = NonlinearDecoder(3, 1, 2, split=True)
        >>> net(torch.zeros(4, 5, 3), {"queries": torch.rand(5, 9, 2)}).shape
        torch.Size([4, 5, 9, 1])
    """

    def __init__(
        self,
        latent: int,
        channels: int,
        k: int,
        split: bool = False,
        hidden: Sequence[int] = (64, 64),
        coordinates: str = "fourier",
    ) -> None:
        super().__init__()
        layers = len(hidden) + 1
        if split and latent < layers:
            raise refuse(
                "latent", latent, f"at least {layers}, one for each layer that takes a share of the code"
            )
        share = [latent // layers + (i < latent % layers) for i in range(layers)] if split else [latent]
        self.net = CoordinateNet(k, channels, hidden, coordinates, share)
        nn.init.zeros_(self.net.last.weight)

    def forward(self, z: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """(*samples, B, Z) -> (*samples, B, Q, C)."""
        out: Tensor = self.net(self.at(condition), z)
        return out
