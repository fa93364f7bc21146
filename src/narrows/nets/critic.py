"""Critics: nets that give an example one score, or an image one score a patch."""

from __future__ import annotations

import math

from torch import Tensor, nn

from narrows.core.check import whole
from narrows.nets.axes import over_leading
from narrows.nets.mlp import dense_layers
from narrows.nets.resnet import group_norm

__all__ = ["PatchCritic", "critic"]

_SLOPE = 0.2


class PatchCritic(nn.Module):
    """Convolutions that score every patch of an image, each score by a few dozen pixels around it.

    Kernels of 4: `levels` of them with stride 2, then two with stride 1. The receptive field of a score is 16, 34
    or 70 pixels for 1, 2 or 3 levels; a small image gets as many levels as leave at least 5 rows and columns.
    Feature maps are normalised by groups of channels within an example, where the paper has batch normalisation:
    a score then depends on no neighbour in the batch, and evaluating it moves no buffer.

    Args:
        shape: shape of one image, (C, H, W), both sides at least 6 pixels.
        channels: channels after the first level; each further one doubles them, up to eight times.
        levels: halvings of the image, at most.

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
        # no bias at the end: a hinge loss has no gradient for it as long as all scores lie within the margin
        self.net = nn.Sequential(*layers, nn.Conv2d(before, 1, 4, 1, 1, bias=False))
        for module in self.net.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(*samples, B, C, H, W) -> scores (*samples, B, P)."""
        return over_leading(lambda images: self.net(images).flatten(1), x, 3)


class _WholeCritic(nn.Module):
    """A perceptron that scores an example as a whole."""

    def __init__(self, shape: tuple[int, ...], hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.axes = len(shape)
        self.net = nn.Sequential(
            dense_layers((math.prod(shape), *hidden)), nn.SiLU(), nn.Linear(hidden[-1], 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(*samples, B, *shape) -> (*samples, B, 1)."""
        scores: Tensor = self.net(x.flatten(-self.axes))
        return scores


def critic(shape: tuple[int, ...], channels: int = 32, levels: int = 3) -> nn.Module:
    """A critic of examples: of the patches of an image, of the whole of anything else or smaller.

    Args:
        shape: shape of one example.
        channels: channels of the first level of an image's critic; a perceptron has four times as many in each of
            its two layers.
        levels: halvings of the image, at most.

    Returns:
        ``x (*samples, B, *shape) -> scores (*samples, B, P)``.

    Example:
        >>> critic((1, 8, 8))(torch.zeros(2, 1, 8, 8)).shape, critic((5,))(torch.zeros(2, 5)).shape
        (torch.Size([2, 4]), torch.Size([2, 1]))
    """
    if len(shape) == 3 and min(shape[1:]) >= 6:
        return PatchCritic(shape, channels, levels)
    return _WholeCritic(shape, (4 * channels, 4 * channels))
