"""Scores of generated series against independent computations."""

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from narrows.audit.metrics.series_distances import (
    autocorrelation,
    autocorrelation_distance,
    correlation_distance,
    spectrum_distance,
    wasserstein,
)
from narrows.audit.metrics.series_judges import (
    PUBLISHED,
    Judge,
    apart,
    discriminative_score,
    predictive_score,
)
from narrows.core.check import RequestError


def noise(n: int, phi: float, seed: int, steps: int = 12) -> torch.Tensor:
    """Windows of an autoregressive process of variance 1, two channels with correlation 0.5."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, steps, 2)) @ np.linalg.cholesky([[1, 0.5], [0.5, 1]]).T
    for t in range(1, steps):
        x[:, t] = phi * x[:, t - 1] + np.sqrt(1 - phi**2) * x[:, t]
    return torch.from_numpy(x.astype(np.float32))


def test_autocorrelation_is_that_of_the_process():
    found = autocorrelation(noise(20_000, 0.8, 0))
    exact = 0.8 ** torch.arange(1, 12)
    assert torch.allclose(found[:, 0], exact, atol=0.03)
    by_hand = []
    x = noise(5, 0.8, 1)
    y = x[..., 0].numpy() - x[..., 0].numpy().mean()
    for k in range(1, 12):
        by_hand.append(
            np.mean([y[n, t] * y[n, t + k] for n in range(5) for t in range(12 - k)]) / np.mean(y**2)
        )
    assert np.allclose(autocorrelation(x)[:, 0], by_hand, atol=1e-5)


def test_distances_of_two_processes():
    one, same, other = noise(4000, 0.8, 0), noise(4000, 0.8, 1), noise(4000, 0.0, 2)
    expected = float((0.8 ** torch.arange(1, 12)).mean())
    assert autocorrelation_distance(one, other) == pytest.approx(expected, abs=0.03)
    assert autocorrelation_distance(one, same) < 0.03
    assert spectrum_distance(one, same) < 0.02 < 0.3 < spectrum_distance(one, other)
    apart_channels = torch.stack([other[..., 0], noise(4000, 0.0, 3)[..., 1]], -1)
    assert correlation_distance(one, apart_channels) == pytest.approx(0.5, abs=0.03)
    assert correlation_distance(one[..., :1], other[..., :1]) is None
    draws = [torch.randn(n, 3, 1) * s for n, s in ((30, 1.0), (50, 2.0))]
    exact = wasserstein_distance(*(d.flatten().numpy() for d in draws)) / draws[0].flatten().std(correction=0)
    assert wasserstein(*draws) == pytest.approx(float(exact), rel=1e-5)
    with pytest.raises(RequestError, match="of the shape of the real ones"):
        wasserstein(one, one[:, :3])


def test_real_against_real_is_about_zero_and_another_process_is_told_apart():
    one, same, other = noise(600, 0.9, 0), noise(600, 0.9, 1), noise(600, 0.3, 2)
    quick = Judge(steps=100, predicting=100)
    alike = [discriminative_score(one, same, judge=quick, seed=s) for s in range(2)]
    assert sum(alike) / 2 < 0.1  # 240 windows decide: 0.026 by chance
    assert discriminative_score(one, other, judge=quick) > 0.25
    real, flat = (predictive_score(one, x, judge=quick) for x in (same, torch.zeros_like(one) + 3))
    assert real < 0.8 * flat


def test_parts_share_no_step_and_published_ones_may():
    places = torch.stack([torch.arange(120) // 60, torch.arange(120) % 60], 1)
    for seed in range(5):
        first, second = apart(places, 7, seed=seed)
        steps = [
            {(int(s), int(t) + i) for s, t in places[rows] for i in range(7)} for rows in (first, second)
        ]
        assert not steps[0] & steps[1]
        assert len(second) == 24
        assert len(first) > 40
    assert PUBLISHED.width(7) == 3
    with pytest.raises(RequestError, match="half of one channel"):
        PUBLISHED.width(1)
    with pytest.raises(RequestError, match="at least 10 windows"):
        apart(places[:4], 2)
