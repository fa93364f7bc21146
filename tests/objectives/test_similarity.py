"""MS-SSIM against loops over windows and scales."""

import math

import pytest
import torch

from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.variational.msssim_vae import msssim_vae
from narrows.objectives.similarity import MSSSIM, windows


def by_loops(x, y, sizes, weights):
    """The similarity of two grey images, lists of rows, one window and one pixel at a time."""
    total = 1.0
    for scale, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
        if scale:
            x, y = halved(x), halved(y)
        kernel = [
            [
                math.exp(-((i - size // 2) ** 2 + (j - size // 2) ** 2) / (2 * (1.5 * size / 11) ** 2))
                for j in range(size)
            ]
            for i in range(size)
        ]
        mass, found = sum(map(sum, kernel)), []
        for top in range(len(x) - size + 1):
            for left in range(len(x[0]) - size + 1):
                m = dict.fromkeys(("x", "y", "xx", "yy", "xy"), 0.0)
                for i in range(size):
                    for j in range(size):
                        a, b, k = x[top + i][left + j], y[top + i][left + j], kernel[i][j] / mass
                        for name, value in (("x", a), ("y", b), ("xx", a * a), ("yy", b * b), ("xy", a * b)):
                            m[name] += k * value
                vx, vy, cov = m["xx"] - m["x"] ** 2, m["yy"] - m["y"] ** 2, m["xy"] - m["x"] * m["y"]
                value = (2 * cov + 9e-4) / (vx + vy + 9e-4)
                if scale + 1 == len(sizes):
                    value *= (2 * m["x"] * m["y"] + 1e-4) / (m["x"] ** 2 + m["y"] ** 2 + 1e-4)
                found.append(value)
        total *= (sum(found) / len(found)) ** weight
    return total


def halved(x):
    return [
        [
            (x[2 * i][2 * j] + x[2 * i + 1][2 * j] + x[2 * i][2 * j + 1] + x[2 * i + 1][2 * j + 1]) / 4
            for j in range(len(x[0]) // 2)
        ]
        for i in range(len(x) // 2)
    ]


def test_equals_loops_over_windows_and_scales():
    torch.manual_seed(0)
    x = torch.rand(2, 2, 16, 19, dtype=torch.float64)
    y = (0.7 * x + 0.3 * torch.rand_like(x)).clamp(0, 1)
    weights = [0.0448, 0.2856, 0.3001]
    weights = [w / sum(weights) for w in weights]
    found = MSSSIM((2, 16, 19))(x, y)
    for i in range(2):
        one = [by_loops(x[i, c].tolist(), y[i, c].tolist(), (11, 7, 3), weights) for c in range(2)]
        assert float(found[i]) == pytest.approx(1 - sum(one) / 2, rel=1e-9)


def test_samples_are_leading_axes():
    x, made = torch.rand(3, 1, 8, 8), torch.rand(4, 3, 1, 8, 8)
    distance = MSSSIM((1, 8, 8))
    found = distance(x, made)
    assert found.shape == (4, 3)
    torch.testing.assert_close(found[2], distance(x, made[2]))


def test_images_that_are_opposite_have_a_gradient():
    x = (torch.rand(2, 1, 8, 8) > 0.5).float()
    made = (1 - x).requires_grad_()
    found = MSSSIM((1, 8, 8))(x, made)
    found.sum().backward()
    assert made.grad.isfinite().all()
    assert made.grad.abs().sum() > 0  # otherwise a decoder that begins there would stay there
    assert (found <= 1).all()


def test_the_loss_weighs_distance_and_rate():
    torch.manual_seed(0)
    x = torch.rand(3, 1, 8, 8)
    model = msssim_vae((1, 8, 8), latent=2, weight=5.0, beta=0.5).eval()
    passed = model(Batch(x))
    loss = model.objective.of(model, passed, 0)
    expected = 5 * MSSSIM((1, 8, 8))(x, passed.output).mean() + 0.5 * passed.code.rate.mean()
    torch.testing.assert_close(loss.total, expected)


def test_the_windows_of_small_images_and_what_is_refused():
    assert windows(28) == (11, 11, 7)
    assert windows(28, 5) == (5, 5, 5)
    assert windows(176) == (11,) * 5
    assert windows(4) == (3,)
    for shape, options in (((7,), {}), ((1, 3, 9), {}), ((1, 8, 8), {"window": 4})):
        with pytest.raises(RequestError):
            msssim_vae(shape, **options)
