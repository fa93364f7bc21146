"""Errors of importance sampling, against brute force and against other estimators."""

import math

import numpy as np
import pytest
import torch

from narrows.audit.metrics.importance import Importance, generalised_pareto, pareto_k, pareto_limit
from narrows.core.check import RequestError

RNG = np.random.default_rng(0)


def pareto(k, shape, scale=1.0):
    """Draws of a generalised Pareto distribution by its quantile function, in NumPy."""
    u = RNG.random(shape)
    return scale * ((1 - u) ** -k - 1) / k


def test_log_p_and_effective_size_are_those_of_the_definition():
    logs = RNG.normal(size=(50, 3)) * 2 - 700  # exp(-700) is 0 in float32
    found = Importance(torch.from_numpy(logs))
    w = np.exp(logs + 700)
    assert found.log_p.tolist() == pytest.approx((np.log(w.mean(0)) - 700).tolist(), rel=1e-12)
    assert found.effective.tolist() == pytest.approx((w.sum(0) ** 2 / (w**2).sum(0)).tolist(), rel=1e-12)


def test_weights_of_the_inverse_give_the_negative():
    logs = torch.from_numpy(RNG.normal(size=(20, 2)))
    upper = Importance(-logs, inverse=True)
    assert upper.log_p.tolist() == pytest.approx((-np.log(np.exp(-logs.numpy()).mean(0))).tolist())


@pytest.mark.parametrize("samples", [20, 64, 1000])
def test_the_standard_error_is_the_spread_of_repeated_estimates(samples):
    logs = torch.from_numpy(RNG.normal(size=(samples, 4000)) * 0.5)
    found = Importance(logs)
    actual = float(found.log_p.std())
    assert float(found.error.square().mean().sqrt()) == pytest.approx(actual, rel=0.06)


def test_with_at_most_32_samples_the_error_is_the_plain_delta_method():
    w = RNG.random((30, 5)) + 0.1
    plain = w.std(0, ddof=1) / math.sqrt(30) / w.mean(0)
    assert Importance(torch.from_numpy(np.log(w))).error.tolist() == pytest.approx(plain.tolist())


def test_one_weight_has_no_standard_error():
    assert Importance(torch.zeros(1, 2, dtype=torch.double)).error.isnan().all()
    with pytest.raises(RequestError, match="K of at least 1"):
        Importance(torch.zeros(0, 2))


@pytest.mark.parametrize("k", [0.1, 0.5, 0.9])
def test_the_fit_agrees_with_maximum_likelihood(k):
    """Against a search of the likelihood of (k, s) on a fine grid, in NumPy."""
    y = np.sort(pareto(k, 500, scale=3.0))
    shape, scale = (float(v) for v in generalised_pareto(torch.from_numpy(y)))
    ks, ss = np.linspace(-0.3, 1.6, 191)[:, None, None], np.linspace(1.5, 6, 181)[None, :, None]
    inside = 1 + ks * y / ss
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.where(
            inside > 0, -np.log(ss) - (1 / np.where(ks == 0, np.nan, ks) + 1) * np.log(inside), -np.inf
        )
    best = np.unravel_index(np.nanargmax(log.sum(-1)), (191, 181))
    assert shape == pytest.approx(ks[best[0], 0, 0], abs=0.06)
    assert scale == pytest.approx(ss[0, best[1], 0], rel=0.08)


@pytest.mark.parametrize("k", [0.3, 0.7, 1.2])
def test_pareto_k_of_weights_with_a_known_tail(k):
    logs = torch.from_numpy(
        np.log(1 + pareto(k, (40_000, 3)))
    )  # exact: an excess of a Pareto tail has the same k
    assert pareto_k(logs).tolist() == pytest.approx([k] * 3, abs=3 * (1 + k) / math.sqrt(600))
    assert torch.allclose(pareto_k(logs + 500), pareto_k(logs)), "k does not depend on the scale"


def test_pareto_k_is_unknown_for_few_or_equal_weights():
    assert pareto_k(torch.zeros(24, 2)).isnan().all()
    assert pareto_k(torch.zeros(200, 2)).isnan().all()


def test_the_limit_grows_with_the_samples():
    assert [pareto_limit(n) for n in (10, 100, 1000, 10**6)] == pytest.approx([0, 0.5, 2 / 3, 0.7])
