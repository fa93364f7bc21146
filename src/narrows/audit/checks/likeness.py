"""How like their originals images are that were decoded from indices: PSNR and SSIM."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.audit.evidence.reseeds import spread
from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Check, Finding
from narrows.kernels.similarity import WINDOW, ssim

__all__ = ["likeness"]

_LEAST = 1e-10
"""The least mean squared error, for a PSNR of at most 100 dB."""


def likeness(view: View) -> Finding:
    """PSNR and SSIM of reconstructions from indices, of images with pixels from 0 to 1; empty for others."""
    target, output = view.batch.target, view.output
    if view.indices is None or view.mixed or view.weight is not None:
        return Finding()
    if not isinstance(target, Tensor) or not isinstance(output, Tensor) or target.shape != output.shape:
        return Finding()
    if target.dim() != 4 or min(target.shape[2:]) < WINDOW or not 0 <= target.min() <= target.max() <= 1:
        return Finding()
    x, made = target.double(), output.double()
    other = made.roll(1, 0)
    both = {
        "psnr": (_psnr(x, made), _psnr(x, other), "dB", "-10 log10 of the mean squared error of an image"),
        "ssim": (
            _ssim(x, made),
            _ssim(x, other),
            "",
            "Structural similarity, windows of 11 pixels; 1 if equal",
        ),
    }
    return Finding(tuple(_check(f"tokenizer/{name}", *figures, view.seed) for name, figures in both.items()))


def _check(name: str, each: Tensor, swapped: Tensor, unit: str, says: str, seed: int) -> Check:
    """The mean of a figure of each image, (N,), and that of the reconstructions of other images."""
    return Check(
        name,
        float(each.mean()),
        unit,
        says=f"{says}; mean over images. Chance: the reconstructions of other images.",
        chance=float(swapped.mean()),
        spread=spread(lambda rows: float(each[rows].mean()), len(each), seed),
        n=len(each),
    )


def _psnr(x: Tensor, made: Tensor) -> Tensor:
    return -10 * (x - made).square().flatten(1).mean(1).clamp_min(_LEAST).log10()


def _ssim(x: Tensor, made: Tensor) -> Tensor:
    return torch.cat([ssim(a, b) for a, b in zip(x.split(256), made.split(256), strict=True)])
