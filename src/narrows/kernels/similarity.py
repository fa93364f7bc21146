"""The structural similarity of images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["WINDOW", "compared", "ssim"]

WINDOW, _SIGMA = 11, 1.5
"""Pixels of a side of the Gaussian window, and its standard deviation."""
_BRIGHT, _CONTRAST = 0.01**2, 0.03**2
"""The constants C1 and C2 for pixels from 0 to 1."""


def ssim(x: Tensor, made: Tensor) -> Tensor:
    r"""The structural similarity of images, averaged over channels and over the positions where the window fits.

    .. math:: \frac{(2 \mu_x \mu_y + C_1) (2 \sigma_{xy} + C_2)}
              {(\mu_x^2 + \mu_y^2 + C_1) (\sigma_x^2 + \sigma_y^2 + C_2)},\quad C_1 = 0.01^2,\; C_2 = 0.03^2

    Args:
        x: images (B, C, H, W) of at least 11 pixels a side, from 0 to 1.
        made: images of the same shape.

    Returns:
        1 for equal images, (B,).

    Example:
        >>> x = torch.rand(2, 1, 16, 16)
        >>> bool((ssim(x, x) > 0.999).all())
        True

    Reference:
        Wang, Bovik, Sheikh, Simoncelli, Image quality assessment: from error visibility to structural similarity, 2004.
    """
    bright, contrast = compared(x, made, WINDOW)
    return (bright * contrast).flatten(1).mean(1)


def compared(x: Tensor, y: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Luminance and contrast at each position of a window, from images (B, C, H, W)."""
    moments = _blurred(torch.stack([x, y, x * x, y * y, x * y]), window)
    mx, my, xx, yy, xy = moments.unbind(0)
    bright = (2 * mx * my + _BRIGHT) / (mx.square() + my.square() + _BRIGHT)
    contrast = (2 * (xy - mx * my) + _CONTRAST) / (xx - mx.square() + yy - my.square() + _CONTRAST)
    return bright, contrast


def _blurred(x: Tensor, window: int) -> Tensor:
    """Means under a Gaussian window, at positions where it fits: (..., H, W) -> (..., H', W')."""
    steps = torch.arange(window, device=x.device, dtype=x.dtype) - window // 2
    kernel = (-0.5 * (steps / (_SIGMA * window / WINDOW)).square()).exp()
    kernel = kernel / kernel.sum()
    flat = x.reshape(-1, 1, *x.shape[-2:])
    flat = F.conv2d(F.conv2d(flat, kernel[None, None, :, None]), kernel[None, None, None, :])
    return flat.reshape(*x.shape[:-2], *flat.shape[-2:])
