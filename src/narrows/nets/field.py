"""Nets for functions: from values at a set of points to a vector, and from a vector to values at any point.

Positions lie in the unit cube, (B, P, k). If all examples of a batch have the same points, positions are
expanded with stride 0, and functions of the positions are computed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from narrows.core import Autoencoder, Batch, Part
from narrows.core.check import refuse, whole
from narrows.kernels.quadrature import normalised
from narrows.nets.coordinates import CoordinateNet
from narrows.nets.skip import SkipMLP

__all__ = ["DECODERS", "FieldDecoder", "FieldEncoder", "LinearDecoder", "NonlinearDecoder"]

DECODERS = ("linear", "concat", "split")
"""How a decoder uses the code: as weights of modes, as input of the first layer, or split over all layers."""


def points(condition: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor | None]:
    """Positions (B or 1, P, k) and their mask (B, P), or None if all points exist.

    Positions shared by all examples are returned once. The positions of missing points are 0.
    """
    y, mask = condition[name], condition.get("mask" if name == "positions" else f"{name}_mask")
    together = len(y) > 1 and y.stride(0) == 0
    y = y[:1] if together else y
    if mask is None:
        return y, None
    used = mask.any(0, keepdim=True) if together else mask
    return torch.where(used[..., None], y, 0.0), mask


class FieldEncoder(nn.Module):
    r"""Encodes a function, observed at some points, as a vector.

    .. math:: h_j = \sum_p w_p \left( \kappa_j(y_p) \cdot u(y_p) + \kappa'_j(y_p) \cdot 1 \right)
              \approx \int \kappa_j \cdot u + \kappa'_j \cdot 1 \, dy,\quad \mathrm{features} = g(h)

    It is a perceptron whose first layer is an integral, with a function of position in place of a weight
    matrix, so that number, positions and order of the points may vary. The second kernel encodes where points
    were observed.

    Args:
        shape: points and channels of one example, (P, C); the number of points may vary.
        k: dimension of a position.
        out: width of the output.
        hidden: widths of the hidden layers after the integral, which run parallel to a linear map.
        width: number of integrals.
        coordinates: as for `CoordinateNet`.

    The condition holds ``positions`` (B, P, k); the masks ``mask`` (B, P) and ``observed`` (B, P, C); and
    ``quadrature`` (B, P), the weights w, which are normalised over the observed points. Without it they are
    equal.

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
        observed = weights != 0
        weighed = weights.repeat(1, 1, 2) * torch.cat(
            [torch.where(observed, x, 0.0), observed.to(x.dtype)], -1
        )
        kernel = self.kernel(y).unflatten(-1, (2 * self.channels, self.width))
        if len(kernel) == 1:
            pooled = weighed.flatten(1) @ kernel[0].flatten(0, 1)
        else:
            pooled = torch.einsum("bpc,bpch->bh", weighed, kernel)
        features: Tensor = self.head(pooled)
        return features

    @staticmethod
    def weights(x: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """The weights (B, P, C) of the values x: those of a channel sum to 1 over the observed points."""
        observed = torch.ones_like(x, dtype=torch.bool)
        if "mask" in condition:
            observed = observed & condition["mask"][..., None]
        if "observed" in condition:
            observed = observed & condition["observed"]
        weights = condition["quadrature"][..., None] if "quadrature" in condition else x.new_ones(())
        return normalised(torch.where(observed, weights, 0.0), -2)


class FieldDecoder(Part):
    """Base class of decoders of functions, which selects the points at which the output is evaluated.

    These are the ``queries`` of the condition, or else its ``positions``; without either, as for
    unconditional samples, the points of the first training example.

    Args:
        points: number of points of an example.
        k: dimension of a position.
    """

    mesh: Tensor

    def __init__(self, points: int, k: int) -> None:
        super().__init__()
        self.register_buffer("mesh", torch.zeros(points, k))

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Store the positions of the first example."""
        y, mask = points(batch.condition, "positions")
        first = y[0] if mask is None else y[0][mask[0]]
        # An example with fewer points than the longest has some of them repeated.
        repeats = -(-len(self.mesh) // max(1, len(first)))
        if len(first):
            self.mesh.copy_(first.repeat(repeats, 1)[: len(self.mesh)])

    def at(self, condition: Mapping[str, Tensor]) -> Tensor:
        """The positions at which the output is evaluated, (B or 1, Q, k)."""
        name = "queries" if "queries" in condition else "positions"
        return points(condition, name)[0] if name in condition else self.mesh[None]


class LinearDecoder(FieldDecoder):
    r"""A mean function and a sum of learned modes, each a function of position.

    .. math:: f(y) = t_0(y) + \sum_k z_k\, t_k(y)

    Args:
        latent: width of the code, Z.
        shape: points and channels of one example, (P, C); the number of points may vary.
        k: dimension of a position.
        hidden: widths of the hidden layers of the net t.
        coordinates: as for `CoordinateNet`.

    Example:
        >>> net = LinearDecoder(3, (9, 1), 2)
        >>> net(torch.zeros(5, 3), {"positions": torch.rand(5, 9, 2)}).shape
        torch.Size([5, 9, 1])
    """

    def __init__(
        self,
        latent: int,
        shape: tuple[int, ...],
        k: int,
        hidden: Sequence[int] = (256,),
        coordinates: str = "fourier",
    ) -> None:
        super().__init__(shape[0], k)
        self.latent, self.channels = latent, shape[-1]
        self.net = CoordinateNet(k, (latent + 1) * self.channels, hidden, coordinates)

    def modes(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The mean function (..., Q, C) and the modes (..., Q, Z, C) at positions (..., Q, k)."""
        out = self.net(y).unflatten(-1, (self.latent + 1, self.channels))
        return out[..., 0, :], out[..., 1:, :]

    def forward(self, z: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """(*samples, B, Z) -> (*samples, B, Q, C)."""
        mean, modes = self.modes(self.at(condition))
        if len(modes) > 1:
            return mean + torch.einsum("...bz,bqzc->...bqc", z, modes)
        flat = z @ modes[0].transpose(0, 1).flatten(1)
        return mean + flat.unflatten(-1, mean.shape[-2:])


class NonlinearDecoder(FieldDecoder):
    r"""A net of position and code: its functions lie on a manifold, not in a linear subspace.

    Args:
        latent: width of the code, Z.
        shape: points and channels of one example, (P, C); the number of points may vary.
        k: dimension of a position.
        split: split the code over all layers, instead of using all of it as input of the first layer.
        hidden: widths of the hidden layers.
        coordinates: as for `CoordinateNet`.

    Example:
        >>> net = NonlinearDecoder(3, (9, 1), 2, split=True)
        >>> net(torch.zeros(4, 5, 3), {"queries": torch.rand(5, 9, 2)}).shape
        torch.Size([4, 5, 9, 1])
    """

    def __init__(
        self,
        latent: int,
        shape: tuple[int, ...],
        k: int,
        split: bool = False,
        hidden: Sequence[int] = (64, 64),
        coordinates: str = "fourier",
    ) -> None:
        super().__init__(shape[0], k)
        layers = len(hidden) + 1
        if split and latent < layers:
            raise refuse(
                "latent", latent, f"at least {layers}, one for each layer that reads a part of the code"
            )
        share = [latent // layers + (i < latent % layers) for i in range(layers)] if split else [latent]
        self.net = CoordinateNet(k, shape[-1], hidden, coordinates, share)
        nn.init.zeros_(self.net.last.weight)

    def forward(self, z: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """(*samples, B, Z) -> (*samples, B, Q, C)."""
        out: Tensor = self.net(self.at(condition), z)
        return out
