"""The structural similarity of images at several scales, and the distance 1 - MS-SSIM."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core.check import refuse, whole
from narrows.kernels.similarity import WINDOW, compared
from narrows.nets.axes import over_leading

__all__ = ["MSSSIM", "windows"]

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales, from fine to coarse, as they were fitted to human judgements."""
_LEAST_SIDE = 4
"""Pixels of the shorter side at the coarsest scale, at least."""
_LOW = 0.1
"""Means of a scale below this are continued by an exponential; see `_positive`."""


def windows(side: int, window: int = WINDOW) -> tuple[int, ...]:
    """The widths of the windows, one for each scale, for images whose shorter side has some pixels.

    Each scale halves the image, up to five scales, as long as at least 4 pixels are left. A window has 11 pixels, or
    the largest odd number that fits into the image of its scale.

    Args:
        side: pixels of the shorter side.
        window: the largest width.

    Raises:
        RequestError: an image of less than 4 pixels a side, or a `window` that is not odd.

    Example:
        >>> windows(256), windows(32), windows(8)
        ((11, 11, 11, 11, 11), (11, 11, 7, 3), (7, 3))
    """
    if whole("window", window) % 2 == 0:
        raise refuse("window", window, "an odd number of pixels")
    if side < _LEAST_SIDE:
        raise refuse("shape", side, f"images of at least {_LEAST_SIDE} pixels a side")
    sides = [side]
    while len(sides) < len(_WEIGHTS) and sides[-1] // 2 >= _LEAST_SIDE:
        sides.append(sides[-1] // 2)
    return tuple(min(window, one - 1 + one % 2) for one in sides)


class MSSSIM(nn.Module):
    r"""One minus the structural similarity at several scales, averaged over channels.

    .. math:: 1 - l_M^{w_M} \prod_{j=1}^{M} c_j^{w_j},\qquad
              l = \frac{2 \mu_x \mu_y + C_1}{\mu_x^2 + \mu_y^2 + C_1},\quad
              c = \frac{2 \sigma_{xy} + C_2}{\sigma_x^2 + \sigma_y^2 + C_2}

    Means, variances and covariance are those of a Gaussian window, whose standard deviation is 1.5 of its 11 pixels.
    c_j is averaged over the positions of scale j, and l c over those of the coarsest one. Since a power of a negative
    number is not defined, averages m below 0.1 are replaced by 0.1 exp(10 m - 1), which have a gradient. Each scale
    averages 2 x 2 pixels of the one before. Small images have fewer scales and smaller windows, see `windows`; the
    exponents of the scales that are left are divided by their sum.

    Args:
        shape: shape of one image, (C, H, W), pixels from 0 to 1.
        window: the largest width of a window.

    Raises:
        RequestError: no images, images of less than 4 pixels a side, or a `window` that is not odd.

    Example:
        >>> distance, x = MSSSIM((1, 16, 16)), torch.rand(2, 1, 16, 16)
        >>> bool((distance(x, x).abs() < 1e-5).all() and (distance(x, 1 - x) > 0.5).all())
        True

    Reference:
        Wang, Simoncelli, Bovik, Multiscale structural similarity for image quality assessment, 2003. Snell et al.,
        Learning to Generate Images with Perceptual Similarity Metrics, 2017. arXiv:1511.06409
    """

    def __init__(self, shape: tuple[int, ...], window: int = WINDOW) -> None:
        super().__init__()
        if len(shape) != 3:
            raise refuse("shape", shape, "images, (C, H, W)", "Try `vae`.")
        self.windows = windows(min(shape[1:]), window)
        weights = _WEIGHTS[: len(self.windows)]
        self.weights = tuple(weight / sum(weights) for weight in weights)

    def forward(self, x: Tensor, made: Tensor) -> Tensor:
        """The distance of images (*samples, B, C, H, W) from x (B, C, H, W), (*samples, B)."""
        both = torch.stack([x.expand_as(made), made], -4)  # the pair is an axis beside the channels
        return over_leading(self._distance, both, 4)

    def _distance(self, pair: Tensor) -> Tensor:
        """Pairs (B, 2, C, H, W) -> (B,)."""
        x, y = pair.unbind(1)
        product = x.new_ones(x.shape[:2])
        for scale, (window, weight) in enumerate(zip(self.windows, self.weights, strict=True)):
            if scale:
                x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
            bright, contrast = compared(x, y, window)
            last = scale + 1 == len(self.windows)
            mean = (bright * contrast if last else contrast).mean((-1, -2))
            product = product * _positive(mean) ** weight
        return 1 - product.mean(1)


def _positive(mean: Tensor) -> Tensor:
    """The mean where it is above 0.1, continued below by an exponential of the same slope."""
    return torch.where(mean > _LOW, mean, _LOW * (mean.clamp(max=_LOW) / _LOW - 1).exp())
