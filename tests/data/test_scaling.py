import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import narrows.data as nd
from narrows.core.check import RequestError
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
    back = scaling.invert(scaling.apply(x))
    assert back.dtype == (torch.float64 if scaling.far else torch.float32)
    torch.testing.assert_close(back.float(), x, rtol=1e-5, atol=2e-3)


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
    with pytest.raises(RequestError, match=r"`scaling` must be from `Source.describe"):
        Scaling.of({"kind": "unit"})


class TestFarFromZero:
    """Numbers whose differences float32 would not hold."""

    times = 1.7e9 + np.arange(400) * 3.0  # seconds since 1970, 20 minutes of them

    def wanted(self, x):
        near = x - x[0]
        return (near - near.mean(0)) / near.std(0)

    @pytest.mark.parametrize("shift", [1e9, -3e7, 1.7e12])
    @pytest.mark.parametrize("mapped", [False, True])
    def test_they_are_standardised_as_in_float64(self, tmp_path, shift, mapped):
        x = np.random.default_rng(0).normal(size=(300, 2)) + shift
        np.save(tmp_path / "x.npy", x)
        source = nd.open(tmp_path / "x.npy", mapped=mapped)
        assert source.spec.values == "real"
        train = x[: len(source.train)] if mapped else source.train.x.numpy()
        got = source.train.all().x
        assert got.dtype == torch.float32
        np.testing.assert_allclose(got, self.wanted(train), atol=1e-3 if abs(shift) > 1e12 else 2e-6)
        back = source.train.scaling.invert(got)
        np.testing.assert_allclose(back, train, atol=1e-3, rtol=0)

    def test_whole_numbers_and_tables_too(self, tmp_path):
        stamps = self.times.astype(np.int64)
        (tmp_path / "t.csv").write_text("when,x\n" + "".join(f"{t},{t % 7}\n" for t in stamps))
        for source in (nd.open(np.stack([stamps, stamps % 7], 1)), nd.open(tmp_path / "t.csv")):
            x = source.train.all().x.numpy()
            assert len(np.unique(x[:, 0])) == len(x)
            np.testing.assert_allclose(x.mean(0), 0, atol=1e-5)
            np.testing.assert_allclose(x.std(0), 1, atol=1e-5)

    def test_targets_too(self):
        x = np.random.default_rng(0).normal(size=(50, 2))
        source = nd.open(x, target=self.times[:50, None])
        np.testing.assert_allclose(source.train.all().target.std(0, correction=0), 1, atol=1e-5)

    def test_a_described_scaling_does_the_same_to_other_data(self):
        source = nd.open(self.times[:, None])
        again = json.loads(json.dumps(source.describe()))
        other = self.times[:5, None] + 1
        want = (other - source.train.x.numpy().mean()) / source.train.x.numpy().std()
        np.testing.assert_allclose(nd.like(again, other).all().x, want, atol=1e-6)

    def test_batches_of_a_mapped_file_are_those_of_memory(self, tmp_path):
        np.save(tmp_path / "x.npy", np.stack([self.times, -self.times], 1))
        mapped = nd.open(tmp_path / "x.npy", mapped=True)
        got = nd.BatchReader(mapped.train, len(mapped.train), 0).at(0).x
        want = mapped.train.all().x
        assert torch.equal(got[got[:, 0].argsort()], want)

    def test_constant_columns_stay_zero(self):
        x = np.stack([np.full(50, 1e9 + 0.3), np.arange(50) + 1e9], 1)
        got = nd.open(x).train.all().x
        assert (got[:, 0] == 0).all()
        assert got[:, 1].std() > 0.9

    def test_others_stay_in_float32(self):
        assert nd.open(np.random.default_rng(0).normal(size=(50, 2)) + 100).train.x.dtype == torch.float32


@pytest.mark.parametrize("wrong", [0.5, -1.0])
def test_data_that_are_no_counts_are_refused_also_where_a_run_on_counts_reads_them(wrong):
    x = np.random.default_rng(0).poisson(3, (40, 4)).astype(np.float32)
    source, other = nd.open(x, scale="counts"), x.copy()
    other[3, 2] = wrong
    assert nd.like(source, x).all().x.shape == (40, 4)
    with pytest.raises(RequestError, match="whole numbers from 0"):
        nd.like(source, other)
    with pytest.raises(RequestError, match="whole numbers from 0"):
        nd.open({"x_train": x, "x_test": other}, scale="counts")
