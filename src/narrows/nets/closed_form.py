"""A deep autoencoder whose layers are solved one after the other, from statistics of parts of the data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Autoencoder, Batch, Condition, Objective, Part, Player
from narrows.core.check import refuse, whole
from narrows.kernels.rolann import activation, leading, merge, solve, statistics

__all__ = ["Solved", "SolvedDecoder", "SolvedEncoder"]

_ROWS = 4096
"""Examples whose statistics are computed at once."""


class Solved(Objective):
    """The distortion of a model that is solved before the first step: no player, so that training ends there.

    Example:
        >>> Solved().players(None)
        []
    """

    def players(self, model: Autoencoder) -> list[Player]:
        """None."""
        return []


class SolvedEncoder(nn.Module):
    r"""One layer: the leading singular vectors of the data.

    .. math:: z = f(W x)

    Args:
        size: number of elements of an example, D.
        latent: width of the code, Z.
        function: the activation f.
    """

    def __init__(self, size: int, latent: int, function: str = "tanh") -> None:
        super().__init__()
        self.of = activation(function)
        self.weight: Tensor
        self.register_buffer("weight", torch.zeros(whole("latent", latent, high=size), size))

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """Encode (B, ...) to (B, Z)."""
        return self.of.of(x.flatten(1) @ self.weight.T)


class SolvedDecoder(Part):
    r"""Hidden layers that are solved as autoencoders of their inputs, and a linear layer.

    .. math:: h_{l+1} = f(h_l B_l^T),\qquad h_l \approx f(f(h_l V_l + c_l)\, B_l)

    V and c are random and orthogonal; B is solved in closed form, and so is the last layer, for the examples.
    Nothing is optimised: `solve` needs the data once for each layer.

    Args:
        latent: width of the code, Z.
        hidden: widths of the hidden layers.
        shape: of an example.
        function: the activation f of the hidden layers, which has an inverse.
        ridge: lambda of all least squares.

    Raises:
        RequestError: an activation without an inverse.
    """

    def __init__(
        self,
        latent: int,
        hidden: Sequence[int],
        shape: tuple[int, ...],
        function: str = "tanh",
        ridge: float = 0.1,
    ) -> None:
        super().__init__()
        self.of, self.linear = activation(function), activation("linear")
        self.shape, self.ridge = tuple(shape), ridge
        self.widths = (latent, *(whole("widths", width) for width in hidden))
        for layer, (before, after) in enumerate(zip(self.widths, self.widths[1:], strict=False)):
            self.register_buffer(f"random{layer}", _orthogonal(before + 1, after))
            self.register_buffer(f"weight{layer}", torch.zeros(after, before))
        self.last: Tensor
        self.register_buffer("last", torch.zeros(math.prod(shape), self.widths[-1] + 1))

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """Decode codes (*samples, B, Z) to (*samples, B, *shape)."""
        flat = _with_one(self._hidden(z, len(self.widths) - 1)) @ self.last.T
        return flat.unflatten(-1, self.shape)

    def _hidden(self, z: Tensor, layers: int) -> Tensor:
        for layer in range(layers):
            z = self.of.of(z @ getattr(self, f"weight{layer}").T)
        return z

    def check_rows(self, rows: int) -> None:
        """Raise if there are fewer examples than latents.

        Raises:
            RequestError: there are.
        """
        if rows < self.widths[0]:
            raise refuse("latent", self.widths[0], f"at most {rows}, the number of training examples")

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Solve all layers from the training examples."""
        encoder = model.encoder
        assert isinstance(encoder, SolvedEncoder)
        self.solve(encoder, [(batch.x, batch.target)])

    @torch.no_grad()
    def solve(self, encoder: SolvedEncoder, shards: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Solve all layers from parts of the data, whose statistics alone are put together.

        Args:
            encoder: is solved too.
            shards: examples and targets of each part.

        Raises:
            RequestError: there are fewer examples than latents.
        """
        rows = [
            (x.flatten(1).double(), y.flatten(1).double())
            for xs, ys in shards
            for x, y in zip(xs.split(_ROWS), ys.split(_ROWS), strict=True)
        ]
        self.check_rows(sum(len(x) for x, _ in rows))
        found = merge(statistics(x, x[:, :1], self.linear) for x, _ in rows)
        encoder.weight.copy_(leading(found, self.widths[0]))
        codes = [self.of.of(x @ encoder.weight.double().T) for x, _ in rows]
        for layer in range(len(self.widths) - 1):
            random = getattr(self, f"random{layer}").double()
            found = merge(statistics(self.of.of(_with_one(h) @ random), h, self.of) for h in codes)
            weight = getattr(self, f"weight{layer}")
            weight.copy_(solve(found, self.ridge).T)
            codes = [self.of.of(h @ weight.double().T) for h in codes]
        found = merge(statistics(_with_one(h), y, self.linear) for h, (_, y) in zip(codes, rows, strict=True))
        self.last.copy_(solve(found, self.ridge))


def _with_one(x: Tensor) -> Tensor:
    """Inputs with a column of ones, for the bias."""
    return torch.cat([x, torch.ones_like(x[..., :1])], -1)


def _orthogonal(rows: int, columns: int) -> Tensor:
    """A random matrix with orthonormal columns, or rows if these are fewer."""
    return nn.init.orthogonal_(torch.empty(rows, columns))
