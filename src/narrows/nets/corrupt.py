"""Corruption of an encoder's input during training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Condition, Tree
from narrows.core.check import choice, number

__all__ = ["KINDS", "SALT", "Corrupted", "corrupt"]

KINDS = ("gaussian", "masking", "salt-and-pepper")
"""The kinds of corruption."""

SALT = {"real": (-2.0, 2.0), "counts": (0.0, 2.0), "unit": (0.0, 1.0), "binary": (0.0, 1.0)}
"""Values of pepper and salt: the ends of the range, or two standard deviations of standardised values."""


def corrupt(x: Tensor, kind: str, level: float, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Draw a corrupted copy of x.

    Args:
        x: any shape.
        kind: ``gaussian`` adds N(0, level^2); ``masking`` sets a fraction `level` of the values to 0;
            ``salt-and-pepper`` sets that fraction to `low` or `high` with equal probability.
        level: standard deviation in the units of x, or fraction of corrupted values.
        low: value of pepper.
        high: value of salt.

    Raises:
        RequestError: an unknown kind.

    Example:
        >>> corrupt(torch.ones(2, 3), "masking", 1.0)
        tensor([[0., 0., 0.],
                [0., 0., 0.]])
    """
    if choice("corruption", kind, KINDS) == "gaussian":
        return x + level * torch.randn_like(x)
    u = torch.rand_like(x)
    if kind == "masking":
        return torch.where(u < level, 0.0, x)
    grain = torch.where(u < level / 2, low, high).to(x.dtype)
    return torch.where(u < level, grain, x)


class Corrupted(nn.Module):
    """An encoder whose input is corrupted during training, but not in `eval()`.

    Args:
        net: the encoder, ``(x, condition) -> features``.
        kind: as for `corrupt`.
        level: standard deviation, or fraction of corrupted values.
        low: value of pepper.
        high: value of salt.

    Raises:
        RequestError: an unknown kind, or a level out of range.

    Example:
        >>> from narrows.nets.mlp import MLP
        >>> net = Corrupted(MLP((4,), (2,), ()), "gaussian", 0.5)
        >>> x = torch.ones(1, 4)
        >>> torch.equal(net(x), net(x)), torch.equal(net.eval()(x), net(x))
        (False, True)
    """

    def __init__(self, net: nn.Module, kind: str, level: float, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__()
        self.net, self.kind = net, choice("corruption", kind, KINDS)
        self.level = (
            number("level", level, low=0, high=1) if kind != "gaussian" else number("level", level, low=0)
        )
        self.low, self.high = low, high

    @property
    def input_noise(self) -> float:
        """The standard deviation of the Gaussian noise on the input in training, which the audit reads; or 0."""
        return self.level if self.kind == "gaussian" else 0.0

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tree:
        """Features of the corrupted input, or in `eval()` of the clean input."""
        if self.training:
            x = corrupt(x, self.kind, self.level, self.low, self.high)
        return self.net(x, condition)
