"""Worlds of missing values: their rates, and on what they depend; arrays with missing values in files and sets."""

import numpy as np
import pytest
import torch

from narrows import data as nd
from narrows.core.check import RequestError
from narrows.data.holes import HIDDEN, by_itself, by_other, hide

ROWS, COLUMNS = 20_000, 4


def rows(share, world, seed=0):
    """Uniform numbers, independent of each other, before and after some are hidden."""
    x = torch.rand(ROWS, COLUMNS, generator=torch.Generator().manual_seed(7))
    source = nd.open(x.numpy(), kinds=("table",), scale="none")
    held = hide(source.train, share, seed, world)
    return held.columns[HIDDEN], held.x.isnan()


def ranks(x, where):
    """The mean of the values of each column in some cells, and the standard error of any such mean."""
    return (x * where).sum(0) / where.sum(0), (1 / 12 / where.sum(0)) ** 0.5


@pytest.mark.parametrize("world", ["random", "other", "self"])
@pytest.mark.parametrize("share", [0.2, 0.7])
def test_the_rate_is_the_share(world, share):
    _, hidden = rows(share, world)
    found = hidden.float().mean(0)
    if world == "other":
        assert sorted(found.tolist())[: COLUMNS // 2] == [0] * (COLUMNS // 2)
        found = found[found > 0]
    assert ((found - share).abs() < 5 * (share * (1 - share) / len(hidden)) ** 0.5).all()


def test_at_random_the_hidden_values_are_like_all():
    x, hidden = rows(0.2, "random")
    mean, error = ranks(x, hidden)
    assert ((mean - 0.5).abs() < 5 * error).all()
    assert torch.equal(hidden, torch.rand(hidden.shape, generator=torch.Generator().manual_seed(0)) < 0.2)


def test_by_itself_the_hidden_values_are_larger_and_the_true_mean_is_known():
    x, hidden = rows(0.2, "self")
    mean, error = ranks(x, hidden)
    assert ((mean - 2 / 3).abs() < 5 * error).all()  # the density of a hidden value is 2 u
    mean, error = ranks(x, ~hidden)
    assert ((mean - (0.5 - 0.2 * 2 / 3) / 0.8).abs() < 5 * error).all()  # so the observed mean is too small
    assert ((x.mean(0) - 0.5).abs() < 5 * (1 / 12 / len(x)) ** 0.5).all()


def test_by_another_column_the_hidden_values_are_like_all_but_the_other_column_is_not():
    x, hidden = rows(0.2, "other")
    some = hidden.any(0)
    mean, error = ranks(x[:, some], hidden[:, some])
    assert ((mean - 0.5).abs() < 5 * error).all()
    for place in some.nonzero().flatten():
        means, error = ranks(x[:, ~some], hidden[:, place, None].expand(-1, int((~some).sum())))
        far = (means - 2 / 3).abs() < 5 * error
        near = (means - 0.5).abs() < 5 * error
        assert int(far.sum()) == 1
        assert int(near.sum()) == len(means) - 1


def test_ranks_of_equal_and_of_missing_values_by_hand():
    x = torch.tensor([[1.0, 5.0], [1.0, torch.nan], [3.0, 4.0], [9.0, torch.nan]])
    half = torch.tensor([[0.25, 0.75], [0.25, 0.5], [0.625, 0.25], [0.875, 0.5]])
    assert torch.allclose(by_itself(x, 0.5), half)
    assert torch.allclose(by_itself(x, 0.8), 0.8 + 0.2 * (2 * half - 1))
    assert torch.allclose(
        by_other(x, 0.5, torch.tensor([-1, 0])), torch.stack([torch.zeros(4), half[:, 0]], 1)
    )


def test_the_world_is_a_part_of_the_option():
    x = np.random.default_rng(0).random((2000, 5))
    train = nd.open(x, kinds=("table",), scale="none", missing="self:0.3").train
    hidden = train.x.isnan()
    assert hidden.float().mean() == pytest.approx(0.3, abs=0.03)
    assert train.columns[HIDDEN][hidden].mean() == pytest.approx(2 / 3, abs=0.03)


@pytest.mark.parametrize("missing", ["self", "own:0.2", "self:1", "self:-0.1", "other:x"])
def test_other_texts_are_refused(missing):
    x = np.random.default_rng(0).normal(size=(30, 3))
    with pytest.raises(RequestError, match="missing"):
        nd.open(x, kinds=("table",), missing=missing)


KINDS = ("array", "table")


@pytest.mark.parametrize("shape", [(6, 6), (3, 6, 6), (6, 6, 3), (9, 2)])
def test_arrays_with_nan_are_scaled_by_what_is_observed(shape):
    rng = np.random.default_rng(0)
    full = 5 + 3 * rng.normal(size=(200, *shape))
    x = np.where(rng.random(full.shape) < 0.2, np.nan, full)
    source = nd.open(x, kinds=KINDS)
    assert source.spec.conditions == {"observed": source.spec.shape}
    assert np.allclose(source.train.scaling.shift, 5, atol=0.5)
    assert np.allclose(source.train.scaling.scale, 3, atol=0.3)
    batch = source.train.all()
    assert torch.equal(batch.condition["observed"], batch.weight.bool())
    assert batch.weight.mean() == pytest.approx(0.8, abs=0.02)
    assert not batch.x.isnan().any()
    again = nd.like(source, full[:5]).all()
    assert again.condition["observed"].all()


def test_arrays_with_nan_from_0_to_1_stay_so():
    rng = np.random.default_rng(0)
    x = np.where(rng.random((50, 4, 4)) < 0.3, np.nan, rng.integers(0, 2, (50, 4, 4)))
    assert nd.open(x, kinds=KINDS).spec.values == "binary"
    x[0, 0, 0] = 0.5
    assert nd.open(x, kinds=KINDS).spec.values == "unit"


def test_methods_that_do_not_read_missing_values_refuse_them():
    x = np.full((20, 4, 4), 0.5)
    x[3, 2, 1] = np.nan
    with pytest.raises(RequestError, match=r"row 3, column 2, 1.*`missing-iwae`, `vae`"):
        nd.open(x)
    with pytest.raises(RequestError, match="does not support missing values"):
        nd.open(np.nan_to_num(x), missing=0.2)
    x[:] = np.nan
    with pytest.raises(RequestError, match="All values of column 0 are missing"):
        nd.open(x, kinds=KINDS)
    x[:] = np.inf
    with pytest.raises(RequestError, match="infinite"):
        nd.open(x, kinds=KINDS)


def test_hidden_pixels_of_a_named_set_have_their_truth():
    source = nd.open("digits", kinds=KINDS, missing=0.2)
    x = source.test.all()
    assert x.weight.mean() == pytest.approx(0.8, abs=0.02)
    full = nd.open("digits").test
    assert torch.equal(source.test.columns[HIDDEN], full.x)
    assert torch.equal(x.x[x.weight > 0], full.all().x[x.weight > 0])
    assert torch.equal(nd.open(**source.describe()).test.all().x, x.x)
