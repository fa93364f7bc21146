"""PSNR and SSIM of reconstructions from indices, against loops over positions."""

import numpy as np
import pytest
import torch

from narrows.audit import audit
from narrows.core import Batch
from narrows.kernels.similarity import ssim
from narrows.methods.quantised.vq_vae import vq_vae


def similarity(x, y):
    """The structural similarity of two images (H, W), position by position, with a window in two dimensions."""
    away = np.arange(11) - 5
    window = np.exp(-(away[:, None] ** 2 + away[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    found = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            both = (window * (a - ma) * (b - mb)).sum()
            top = (2 * ma * mb + 1e-4) * (2 * both + 9e-4)
            found.append(top / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    return float(np.mean(found))


def test_structural_similarity_is_that_of_a_loop_over_positions():
    x, noise = torch.rand(2, 2, 2, 13, 15, dtype=torch.double)
    y = (0.7 * x + 0.3 * noise).clamp(0, 1)
    loop = [
        np.mean([similarity(a.numpy(), b.numpy()) for a, b in zip(*pair, strict=True)]) for pair in zip(x, y)
    ]
    assert ssim(x, y).tolist() == pytest.approx(loop, rel=1e-9)


def test_the_audit_has_both_for_images_from_indices():
    torch.manual_seed(0)
    model, x = vq_vae((1, 12, 12), codes=4, width=4, prior="none").eval(), torch.rand(20, 1, 12, 12)
    report = audit(model, x)
    with torch.no_grad():
        made = model.likelihood.mean(model(Batch(x)).output).double()
    error = (made - x).square().mean((1, 2, 3)).numpy()
    assert report["tokenizer/psnr"].value == pytest.approx(float(np.mean(-10 * np.log10(error))), rel=1e-5)
    loop = np.mean([similarity(a[0].numpy(), b[0].numpy()) for a, b in zip(x.double(), made, strict=True)])
    assert report["tokenizer/ssim"].value == pytest.approx(float(loop), rel=1e-5)
    assert audit(model, 2 * x).get("tokenizer/ssim") is None
