"""Distances of two images in the feature maps of a frozen net, and the objective whose distortion is one."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from narrows.core import Autoencoder, Objective, Pass
from narrows.core.schedules import Schedule
from narrows.nets.features import Frozen

__all__ = ["FeatureDistance", "FeatureDistortion", "PerceptualDistance", "compared"]

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

    def maps(self, x: Tensor, made: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The feature maps of x (B, ...) and of reconstructions (*samples, B, ...), layer by layer."""
        samples = made.shape[: made.ndim - x.ndim]
        with torch.no_grad():
            targets = self.frozen(x)
        found = self.frozen(made.flatten(0, len(samples)))
        for a, b in zip(targets, found, strict=True):
            yield a, b.unflatten(0, (*samples, len(x)))

    def forward(self, x: Tensor, made: Tensor) -> Tensor:
        """The distance of reconstructions (*samples, B, ...) from x (B, ...), (*samples, B)."""
        distances = [(_unit(b) - _unit(a)).square().sum(-3).mean((-1, -2)) for a, b in self.maps(x, made)]
        return torch.stack(distances).mean(0)


class FeatureDistance(PerceptualDistance):
    r"""Half the squared distance of feature maps, averaged over each map and summed over layers.

    .. math:: d(x, \hat x) = \sum_l \frac{1}{2 C_l H_l W_l} \| f_l(x) - f_l(\hat x) \|^2

    Args:
        net: from examples (B, ...) to a list of feature maps (B, C_l, H_l, W_l).

    Reference:
        Hou et al., Deep Feature Consistent Variational Autoencoder, 2017, section 3.2. arXiv:1610.00291
    """

    def forward(self, x: Tensor, made: Tensor) -> Tensor:
        """The distance of reconstructions (*samples, B, ...) from x (B, ...), (*samples, B)."""
        layers = [0.5 * (b - a).square().mean((-1, -2, -3)) for a, b in self.maps(x, made)]
        return torch.stack(layers).sum(0)


class FeatureDistortion(Objective):
    r"""The distance of reconstructions as the distortion, in place of a likelihood, plus the code's costs.

    .. math:: w\, d(x, \hat x) + \beta\, \mathrm{KL}

    Args:
        distance: d, of examples (B, ...) and reconstructions (*samples, B, ...), (*samples, B).
        weight: w, of the distortion.
        beta: weight of the KL divergence.
    """

    def __init__(self, distance: nn.Module, *, weight: Schedule = 1.0, beta: Schedule = 1.0) -> None:
        super().__init__(weights={"distortion": weight, "kl": beta})
        self.distance = distance

    def distortion(self, model: Autoencoder, passed: Pass) -> Tensor:
        """The distance, (*samples, B)."""
        found: Tensor = self.distance(*compared(model, passed))
        return found


def compared(model: Autoencoder, passed: Pass) -> tuple[Tensor, Tensor]:
    """The examples (B, ...) and their reconstructions (*samples, B, ...); zeros where the weight is 0."""
    made: Tensor = model.likelihood.mean(passed.output)
    if passed.batch.weight is not None:
        made = torch.where(passed.batch.weight != 0, made, made.new_zeros(()))
    return passed.batch.target, made


def _unit(maps: Tensor) -> Tensor:
    """Feature maps (..., C, H, W) whose vectors over channels are normalised, except those near 0."""
    return maps * (maps.square().sum(-3, keepdim=True) + _TINY).rsqrt()
