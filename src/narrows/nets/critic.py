"""Critics: nets that compute one score per example, or one per patch of an image."""

from __future__ import annotations

import math

from torch import Tensor, nn

from narrows.core.check import whole
from narrows.nets.axes import over_leading
from narrows.nets.mlp import dense_layers
from narrows.nets.resnet import group_norm

__all__ = ["PatchCritic", "WholeCritic", "critic"]

_SLOPE = 0.2


class PatchCritic(nn.Module):
    """A convolutional net that scores every patch of an image.

    It has `levels` convolutions with kernel 4 and stride 2, then two with stride 1. The receptive field of a
    score is 16, 34 or 70 pixels for 1, 2 or 3 levels; for small images the number of levels is reduced such
    that at least 5 rows and columns are left. Group normalisation replaces the paper's batch normalisation,
    so that a score does not depend on the other examples of the batch.

    Args:
        shape: shape of one image, (C, H, W), both sides at least 6 pixels.
        channels: channels after the first level; each further level doubles them, up to eight times.
        levels: the maximum number of halvings of the image.

    Example:
        >>> PatchCritic((1, 28, 28))(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 25])

    Reference:
        Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, 2017, section 3.2.
        arXiv:1611.07004
    """

    def __init__(self, shape: tuple[int, ...], channels: int = 32, levels: int = 3) -> None:
        super().__init__()
        whole("channels", channels)
        fit = int(math.log2(max(1, min(shape[1:]) // 5)))
        count = max(1, min(whole("levels", levels), fit))
        layers: list[nn.Module] = [nn.Conv2d(shape[0], channels, 4, 2, 1), nn.LeakyReLU(_SLOPE)]
        before = channels
        for level in range(1, count + 1):
            width = channels * min(8, 2**level)
            stride = 2 if level < count else 1
            layers += [nn.Conv2d(before, width, 4, stride, 1, bias=False), group_norm(width)]
            layers.append(nn.LeakyReLU(_SLOPE))
            before = width
        # no final bias: a hinge loss has no gradient for it as long as all scores lie within the margin
        self.net = nn.Sequential(*layers, nn.Conv2d(before, 1, 4, 1, 1, bias=False))
        for module in self.net.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)

    def features(self, x: Tensor) -> Tensor:
        """The last hidden layer: (*samples, B, C, H, W) -> (*samples, B, F)."""
        return over_leading(lambda images: self.net[:-1](images).flatten(1), x, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(*samples, B, C, H, W) -> scores (*samples, B, P)."""
        return over_leading(lambda images: self.net(images).flatten(1), x, 3)


class WholeCritic(nn.Module):
    """A perceptron that computes one score per example; its last layer has no bias.

    Args:
        shape: shape of one example.
        hidden: widths of the hidden layers.

    Example:
        >>> WholeCritic((3,), (8,))(torch.zeros(2, 3)).shape
        torch.Size([2, 1])
    """

    def __init__(self, shape: tuple[int, ...], hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.axes = len(shape)
        self.net = nn.Sequential(
            dense_layers((math.prod(shape), *hidden)), nn.SiLU(), nn.Linear(hidden[-1], 1, bias=False)
        )

    def features(self, x: Tensor) -> Tensor:
        """The last hidden layer: (*samples, B, *shape) -> (*samples, B, F)."""
        hidden: Tensor = self.net[:-1](x.flatten(-self.axes))
        return hidden

    def forward(self, x: Tensor) -> Tensor:
        """(*samples, B, *shape) -> (*samples, B, 1)."""
        scores: Tensor = self.net(x.flatten(-self.axes))
        return scores


def critic(shape: tuple[int, ...], channels: int = 32, levels: int = 3) -> nn.Module:
    """A patch critic for images of at least 6 pixels per side; for other data a perceptron with one score.

    Args:
        shape: shape of one example.
        channels: channels of the first level of a patch critic; a perceptron has four times as many units in
            each of its two layers.
        levels: the maximum number of halvings of the image.

    Returns:
        ``x (*samples, B, *shape) -> scores (*samples, B, P)``.

    Example:
        >>> critic((1, 8, 8))(torch.zeros(2, 1, 8, 8)).shape, critic((5,))(torch.zeros(2, 5)).shape
        (torch.Size([2, 4]), torch.Size([2, 1]))
    """
    if len(shape) == 3 and min(shape[1:]) >= 6:
        return PatchCritic(shape, channels, levels)
    return WholeCritic(shape, (4 * channels, 4 * channels))
