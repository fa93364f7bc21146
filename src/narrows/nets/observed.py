"""Encoders that read which values are missing, and decoders that read what is visible."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Condition, Part
from narrows.core.check import number
from narrows.nets.axes import over_leading
from narrows.nets.unet import UNet

__all__ = ["BesideVisible", "MaskEncoder", "WithMask"]

_HALVED = 12
"""Images of at least this height and width are halved twice."""


class MaskEncoder(Part):
    r"""An encoder that reads the mask of observed values, and may get fewer of them in training.

    .. math:: h = f(x \odot s \odot b,\ s \odot b),\qquad b_d \sim \mathrm{Bernoulli}(1 - u),\quad
              u \sim U(0, \mathrm{withhold})

    Values that are withheld by b remain part of the loss, so that a code without a posterior learns to predict some
    values from the others.

    Args:
        withhold: the largest share of an example's values that are withheld in training; 0 for none.

    Raises:
        RequestError: a share that is not from 0 to 1.
    """

    withhold: float = 0.0

    def set_withhold(self, withhold: float) -> None:
        """Set the largest share of withheld values."""
        self.withhold = number("withhold", withhold, low=0, high=1)

    def seen(self, x: Tensor, condition: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """x (B, ...) with zeros where it is missing or withheld, and the mask of the others; None if all are seen."""
        observed = condition.get("observed")
        if self.training and self.withhold:
            share = self.withhold * torch.rand(len(x), *[1] * (x.dim() - 1), device=x.device)
            kept = torch.rand(x.shape, device=x.device) >= share
            observed = kept if observed is None else observed & kept
        return (x if observed is None else torch.where(observed, x, 0)), observed


class WithMask(MaskEncoder):
    r"""Encodes arrays with missing values, zero where one is missing, with the mask as further channels.

    Args:
        net: an encoder of arrays with twice as many channels.
        axis: the axis of the channels, in a batch.

    Example:
        >>> encoder = WithMask(nn.Flatten(), 1)
        >>> encoder(torch.tensor([[[2.0, 3.0]]]), {"observed": torch.tensor([[[True, False]]])})
        tensor([[2., 0., 1., 0.]])

    Reference:
        Mattei and Frellsen, MIWAE, 2019. arXiv:1812.02633
    """

    def __init__(self, net: nn.Module, axis: int) -> None:
        super().__init__()
        self.net, self.axis = net, axis

    def forward(self, x: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Arrays (B, *shape), with the mask ``observed`` in the condition if any values are missing -> features."""
        x, observed = self.seen(x, condition)
        mask = torch.ones_like(x) if observed is None else observed.to(x.dtype)
        out: Tensor = self.net(torch.cat([x, mask], self.axis))
        return out


class BesideVisible(nn.Module):
    r"""Decodes a code beside what is visible of an image: :math:`y = u([d(z),\ v])`, u a U-Net.

    Args:
        decoder: d, a net from z to maps (M, H, W).
        maps: number of maps, M.
        visible: shape of v, (V, H, W).
        outputs: channels of y.
        width: channels of the U-Net at full size.

    Example:
        >>> maps = nn.Sequential(nn.Linear(3, 64), nn.Unflatten(-1, (1, 8, 8)))
        >>> BesideVisible(maps, 1, (2, 8, 8), 5, width=4)(torch.zeros(7, 2, 3 + 128)).shape
        torch.Size([7, 2, 5, 8, 8])

    Reference:
        Ivanov, Figurnov and Vetrov, Variational Autoencoder with Arbitrary Conditioning, 2019. arXiv:1806.02382
    """

    def __init__(
        self, decoder: nn.Module, maps: int, visible: tuple[int, int, int], outputs: int, width: int = 16
    ) -> None:
        super().__init__()
        self.decoder, self.visible = decoder, visible
        _, height, across = visible
        levels = 2 if min(height, across) >= _HALVED else 1
        self.net = UNet(maps + visible[0], outputs, (height, across), width, levels)

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """Codes beside what is visible, flattened, (*samples, B, Z + V H W) -> (*samples, B, outputs, H, W)."""
        width = z.shape[-1] - math.prod(self.visible)
        maps, visible = self.decoder(z[..., :width]), z[..., width:].unflatten(-1, self.visible)
        return over_leading(self.net, torch.cat([maps, visible], -3), 3)
