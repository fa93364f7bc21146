import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from narrows.check import RequestError
from narrows.data.scaling import Scaling, fit_scaling, values_of

tables = hnp.arrays(
    np.float32,
    st.tuples(st.integers(2, 30), st.integers(1, 6)),
    elements=st.floats(-1e3, 1e3, width=32),
)


@given(tables, st.sampled_from(["auto", "none", "unit", "standard"]))
def test_json_round_trip_is_exact_and_invert_undoes_apply(x, kind):
    x = torch.from_numpy(x)
    scaling = fit_scaling(x, kind)
    again = Scaling.of(json.loads(json.dumps(scaling.describe())))
    assert again == scaling
    assert torch.equal(again.apply(x), scaling.apply(x))
    torch.testing.assert_close(scaling.invert(scaling.apply(x)), x, rtol=1e-5, atol=2e-3)


@given(tables)
def test_standard_is_the_float64_formula(x):
    got = fit_scaling(torch.from_numpy(x), "standard").apply(torch.from_numpy(x)).numpy()
    wide = x.astype(np.float64)
    mean, std = wide.mean(0), wide.std(0)
    constant = std <= 1e-12 * (1 + abs(mean))
    want = (wide - mean) / np.where(constant, 1.0, std)
    moves = ~constant & (std > 1e-3 * (1 + abs(mean)))
    np.testing.assert_allclose(got[:, moves], want[:, moves], atol=2e-3)
    assert np.isfinite(got).all()


def test_bytes_become_exactly_zero_to_one():
    x = torch.arange(256, dtype=torch.uint8).reshape(2, 128)
    scaling = fit_scaling(x, "auto")
    assert scaling == Scaling("unit", 0.0, 255.0)
    np.testing.assert_allclose(scaling.apply(x).flatten().numpy(), np.arange(256) / 255, atol=6e-8)
    assert scaling.apply(x).max() == 1.0
    assert values_of(x, scaling) == "unit"


def test_channels_of_images_are_scaled_apart():
    x = torch.randn(50, 3, 4, 5) * torch.tensor([1.0, 5.0, 9.0])[:, None, None] + 2
    got = fit_scaling(x, "standard").apply(x)
    np.testing.assert_allclose(got.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(got.std((0, 2, 3), correction=0), 1, atol=1e-4)


def test_columns_of_sequences_are_scaled_over_time():
    x = torch.randn(50, 7, 2) * torch.tensor([1.0, 5.0])
    scaling = fit_scaling(x, "standard")
    np.testing.assert_allclose(scaling.scale, x.reshape(-1, 2).std(0, correction=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("x", "kind", "values"),
    [
        ([[0.0, 1.0]], "none", "binary"),
        ([[0.0, 0.5]], "none", "unit"),
        ([[0.0, 1.5]], "none", "real"),
        ([[-3.0, 1.5], [0.0, 0.0]], "unit", "binary"),
        ([[-3.0], [0.0], [1.0]], "unit", "unit"),
        ([[-3.0], [0.0], [1.0]], "standard", "real"),
    ],
)
def test_values(x, kind, values):
    x = torch.tensor(x)
    assert values_of(x, fit_scaling(x, kind)) == values


def test_a_grey_pixel_late_in_the_data_is_not_binary():
    x = torch.zeros(200, 4)
    x[-1, -1] = 0.5
    assert values_of(x, Scaling()) == "unit"


def test_applying_never_changes_the_store():
    for scaling in (
        Scaling("unit", 0.0, 4.0),
        Scaling("standard", (1.0,), (2.0,)),
        Scaling("unit", 1.0, 3.0),
    ):
        x = torch.full((2, 1), 4.0)
        scaling.apply(x)
        assert (x == 4).all()


def test_refusals():
    with pytest.raises(RequestError, match=r"`scale` must be one of `auto`"):
        fit_scaling(torch.zeros(1, 1), "whiten")
    with pytest.raises(RequestError, match=r"`scaling` must be what `Source.describe"):
        Scaling.of({"kind": "unit"})
