"""The deterministic bottom-up path of ladder VAEs, and a decoder that reads the lowest group of latents."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from narrows.core import NO_CONDITION, Condition, Tree

__all__ = ["BottomUp", "Lowest", "Normalised"]


class Normalised(nn.Module):
    """A net from the data to features, with layer normalisation.

    The paper uses batch normalisation; layer normalisation needs no running statistics, and an example's code
    does not depend on the other examples of its batch.

    Args:
        net: ``(x, condition) -> (B, F)``.
        width: F.
    """

    def __init__(self, net: nn.Module, width: int) -> None:
        super().__init__()
        self.net, self.after = net, nn.Sequential(nn.LayerNorm(width), nn.SiLU())

    def forward(self, x: Tree, condition: Condition = NO_CONDITION) -> Tensor:
        """The features, (B, F)."""
        return self.after(self.net(x, condition))


class BottomUp(nn.Module):
    """The deterministic bottom-up path: features d_1 of the data, d_2 of d_1, and so on.

    Args:
        first: a net from the data to d_1, ``(x, condition) -> (B, F_1)``.
        widths: widths F_1 ... F_L of the features.
    """

    def __init__(self, first: nn.Module, widths: Sequence[int]) -> None:
        super().__init__()
        self.first = Normalised(first, widths[0])
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Linear(below, above), nn.LayerNorm(above), nn.SiLU())
            for below, above in itertools.pairwise(widths)
        )

    def forward(self, x: Tree, condition: Condition = NO_CONDITION) -> list[Tensor]:
        """The features of each group, from the lowest to the highest."""
        features = [self.first(x, condition)]
        for step in self.steps:
            features.append(step(features[-1]))
        return features


class Lowest(nn.Module):
    """A decoder that reads the lowest group only, p(x | z_1).

    Args:
        net: the decoder of z_1.
        width: the number of latents of z_1, which come first.
    """

    def __init__(self, net: nn.Module, width: int) -> None:
        super().__init__()
        self.net, self.width = net, width

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, sum of widths) -> parameters of p(x | z_1)."""
        return self.net(z[..., : self.width], condition)
