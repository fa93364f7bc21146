"""Scaling of columns by their ranks."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import norm, rankdata

from narrows.core.check import RequestError
from narrows.data import Scaling
from narrows.data.ranks import fit_knots, through
from narrows.data.scaling import fit_scaling

RNG = np.random.default_rng(0)


def test_each_value_becomes_the_normal_quantile_of_its_mean_rank():
    x = np.stack([RNG.integers(0, 20, 300), RNG.integers(0, 2, 300), RNG.choice(100, 300)], 1).astype(float)
    ours = through(torch.from_numpy(x), fit_knots(x)).numpy()
    expected = norm.ppf((rankdata(x, axis=0) - 0.5) / len(x))
    np.testing.assert_allclose(ours, expected, atol=1e-9)


def test_many_distinct_values_become_nearly_normal():
    x = np.exp(2 * RNG.normal(size=(20_000, 2)))
    ours = through(torch.from_numpy(x), fit_knots(x)).numpy()
    np.testing.assert_allclose(ours, norm.ppf((rankdata(x, axis=0) - 0.5) / len(x)), atol=0.05)


def test_it_is_monotone_everywhere_and_has_an_inverse():
    x = np.exp(RNG.normal(size=(500, 1)))
    knots = fit_knots(x)
    line = torch.linspace(-50, 50, 10_001, dtype=torch.float64)[:, None]
    mapped = through(line, knots)
    assert (mapped.diff(dim=0) > 0).all()
    torch.testing.assert_close(through(mapped, knots, back=True), line)
    far = through(torch.tensor([[x.max() + 10 * x.std()]]), knots) - through(torch.tensor([[x.max()]]), knots)
    assert float(far) == pytest.approx(10)  # an outlier stays one


def test_a_constant_column_is_shifted():
    knots = fit_knots(np.full((9, 1), 7.0))
    assert through(torch.tensor([[7.0], [7.0001]], dtype=torch.float64), knots)[:, 0].tolist() == [
        pytest.approx(0),
        pytest.approx(1e-4),
    ]


def test_a_scaling_by_ranks_survives_its_json_form():
    x = torch.from_numpy(np.exp(RNG.normal(size=(300, 3)))).float()
    scaling = fit_scaling(x, "rank")
    again = Scaling.of(json.loads(json.dumps(scaling.describe())))
    assert again == scaling
    assert torch.equal(again.apply(x), scaling.apply(x))
    torch.testing.assert_close(again.invert(again.apply(x)), x, rtol=1e-4, atol=1e-4)


def test_bad_requests():
    with pytest.raises(RequestError, match="except for vectors"):
        fit_scaling(torch.rand(9, 1, 4, 4), "rank")
    scaling = fit_scaling(torch.rand(9, 2), "rank")
    with pytest.raises(RequestError, match="3 columns"):
        scaling.apply(torch.rand(4, 3))
    form = scaling.describe()
    form["knots"][0][0].reverse()
    with pytest.raises(RequestError, match="scaling"):
        Scaling.of(form)
