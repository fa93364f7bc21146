"""The perceptual distance of two images in the feature maps of a frozen net."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.nets.features import Frozen

__all__ = ["PerceptualDistance"]

_TINY = 1e-6
"""Added to squared norms, so that feature vectors near 0, which are noise, are not normalised."""


class PerceptualDistance(nn.Module):
    r"""The squared distance of normalised feature vectors, averaged over positions and layers.

    .. math:: d(x, \hat x) = \frac1L \sum_l \frac{1}{H_l W_l} \sum_{h, w}
              \left\| \frac{f_l(x)}{\|f_l(x)\|} - \frac{f_l(\hat x)}{\|f_l(\hat x)\|} \right\|^2_{hw}

    This is LPIPS with equal weights for all channels and layers, where the paper learns them from human
    judgements. It lies between 0 and 4. The net is copied and frozen; gradients pass through it to the second
    argument.

    Args:
        net: from examples (B, ...) to a list of feature maps (B, C_l, H_l, W_l).

    Example:
        >>> from narrows.nets.features import RandomFeatures
        >>> distance = PerceptualDistance(RandomFeatures((1, 8, 8)))
        >>> x = torch.rand(3, 1, 8, 8)
        >>> distance(x, x), bool((distance(x, 1 - x) > 0).all())
        (tensor([0., 0., 0.]), True)

    Reference:
        Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, 2018.
        arXiv:1801.03924
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.frozen = Frozen(net)

    def forward(self, x: Tensor, made: Tensor) -> Tensor:
        """The distance of reconstructions (*samples, B, ...) from x (B, ...), (*samples, B)."""
        samples = made.shape[: made.ndim - x.ndim]
        with torch.no_grad():
            targets = self.frozen(x)
        found = self.frozen(made.flatten(0, len(samples)))
        distances = [
            (_unit(b).unflatten(0, (*samples, len(x))) - _unit(a)).square().sum(-3).mean((-1, -2))
            for a, b in zip(targets, found, strict=True)
        ]
        return torch.stack(distances).mean(0)


def _unit(maps: Tensor) -> Tensor:
    """Feature maps (B, C, H, W) whose vectors over channels are normalised, except those near 0."""
    return maps * (maps.square().sum(1, keepdim=True) + _TINY).rsqrt()
