"""The nets and the data of the publications."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

import narrows.data as nd
from narrows.core import NO_CONDITION, NO_WIDTHS, Batch, Condition, Spec, Widths
from narrows.nets.kinds import Net

__all__ = ["BINARY", "Binarised", "Dense", "Images", "Layers", "Maxout", "digits"]

BINARY = Spec((1, 28, 28), "binary")


class Maxout(nn.Module):
    """The largest of `pieces` neighbours, (..., W pieces) -> (..., W)."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        """The maxima."""
        return x.unflatten(-1, (-1, self.pieces)).amax(-1)


class Dense(nn.Module):
    """A perceptron with any activation, weights by Glorot's uniform rule and biases 0, as in the authors' code.

    Args:
        widths: from the input to the output.
        activation: between the layers.
        shape_in: shape of one input, if not a vector.
        shape_out: shape of one output, if not a vector.
        last: an activation after the last layer.
        first: an activation before the first layer.
    """

    def __init__(
        self,
        widths: Sequence[int],
        activation: nn.Module,
        shape_in: tuple[int, ...] = (),
        shape_out: tuple[int, ...] = (),
        last: bool = False,
        first: bool = False,
    ) -> None:
        super().__init__()
        self.shape_in, self.shape_out = shape_in, shape_out
        pieces = int(getattr(activation, "pieces", 1))
        layers: list[nn.Module] = [activation] if first else []
        pairs = list(itertools.pairwise(widths))
        for i, (a, b) in enumerate(pairs):
            activated = i < len(pairs) - 1 or last
            layer = nn.Linear(a, b * pieces if activated else b)
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
            layers += [layer, activation] if activated else [layer]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(..., *shape_in) -> (..., *shape_out)."""
        y: Tensor = self.layers(x.flatten(-len(self.shape_in)) if self.shape_in else x)
        return y.unflatten(-1, self.shape_out) if self.shape_out else y


class Layers(Net):
    """Perceptrons with hidden layers of the widths given, mirrored in the decoder."""

    def __init__(self, hidden: Sequence[int], activation: nn.Module) -> None:
        self.hidden, self.activation = tuple(hidden), activation

    def encoder(self, shape: tuple[int, ...], out: int, condition: Widths = NO_WIDTHS) -> nn.Module:
        """(x, condition) -> (B, out)."""
        return Dense((math.prod(shape), *self.hidden, out), self.activation, shape_in=shape)

    def decoder(self, z: int, shape: tuple[int, ...], condition: Widths = NO_WIDTHS) -> nn.Module:
        """(z, condition) -> (*samples, B, *shape)."""
        return Dense((z, *self.hidden[::-1], math.prod(shape)), self.activation, shape_out=shape)


class Images:
    """Images as they are."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def batch(
        self, rows: Tensor | slice, conditions: tuple[str, ...] = (), device: str | torch.device = "cpu"
    ) -> Batch:
        """Some examples."""
        return Batch(self.read(rows).to(device))

    def read(self, rows: Tensor | slice) -> Tensor:
        """The pixels of some examples."""
        return self.x[rows]


class Binarised(Images):
    """Images from 0 to 1 whose pixels are drawn anew each time they are read ("dynamic binarisation")."""

    def read(self, rows: Tensor | slice) -> Tensor:
        """Drawn by the global generator, which checkpoints keep."""
        return torch.bernoulli(self.x[rows])


@lru_cache(1)
def digits() -> tuple[Tensor, Tensor, Tensor]:
    """MNIST: training and test images (N, 1, 28, 28) from 0 to 1, and the test labels."""
    source = nd.open("mnist")
    train, test = (part.all().x.reshape(-1, 1, 28, 28) for part in (source.train, source.test))
    assert source.test.labels is not None
    return train, test, source.test.labels


def fixed(x: Tensor, seed: int = 0) -> Tensor:
    """One binary draw of each image, the same for all that ask."""
    return torch.bernoulli(x, generator=torch.Generator().manual_seed(seed))


def some(x: Tensor, count: float, seed: int = 0) -> Tensor:
    """Rows that are drawn once for all arms."""
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[: int(count)]]
