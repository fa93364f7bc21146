"""Finite scalar quantisation: its codes are its grid."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from narrows.bottlenecks.discrete.fsq import FiniteScalarQuantizer, levels_for
from narrows.core.check import RequestError
from narrows.core.evidence import Indices


def quantizer(levels, variant="paper"):
    return FiniteScalarQuantizer(len(levels), levels=levels, tokens=1, variant=variant)


def values(count, variant):
    """The levels of one channel, by hand."""
    if variant == "symmetric":
        return [2 * i / (count - 1) - 1 for i in range(count)]
    return [(i - count // 2) / (count // 2) for i in range(count)]


@pytest.mark.parametrize("variant", ["paper", "symmetric"])
@given(levels=st.lists(st.integers(3, 9), min_size=1, max_size=4))
@settings(deadline=None, max_examples=40)
def test_codes_and_indices_are_a_bijection_of_the_grid(variant, levels):
    fsq = quantizer(levels, variant)
    codes = math.prod(levels)
    assert fsq.codes == codes
    grid = fsq.vectors(torch.arange(codes))
    assert len(grid.unique(dim=0)) == codes
    for i, count in enumerate(levels):
        assert torch.allclose(grid[:, i].unique(), torch.tensor(values(count, variant)), atol=1e-6)
    # An encoder that puts out the real numbers which the bound maps onto each code gets exactly that code back.
    places = torch.cartesian_prod(*(torch.arange(n) for n in levels)).view(codes, -1)
    tokens = inverse(fsq, places.double())
    code = fsq.double()(tokens[:, None])
    assert torch.equal(code[Indices].indices[:, 0].sort().values, torch.arange(codes))
    assert torch.allclose(code.z[:, 0].float(), fsq.float().vectors(code[Indices].indices[:, 0]), atol=1e-6)
    assert torch.equal(fsq.number(places), code[Indices].indices[:, 0])


def inverse(fsq, places):
    """Bisection: where the bound takes each of the places."""
    low, high = torch.full_like(places, -20), torch.full_like(places, 20)
    for _ in range(80):
        middle = (low + high) / 2
        below = fsq.double().bound(middle) < places
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


@pytest.mark.parametrize("variant", ["paper", "symmetric"])
@pytest.mark.parametrize("count", [3, 4, 5, 8, 999, 1000, 1001, 4000])
def test_every_level_can_be_reached_and_none_beyond(variant, count):
    x = torch.cat([torch.tensor([-torch.inf, torch.inf]), torch.linspace(-20, 20, 400_001)])
    found = quantizer((count,), variant)(x[:, None, None])[Indices].indices.unique()
    assert torch.equal(found, torch.arange(count))


def test_the_paper_s_map_is_its_formula_and_even_levels_lean_down():
    """round(h tanh(z + atanh(o/h)) - o) / (L // 2), L = 4: -1, -1/2, 0, 1/2."""
    z = torch.linspace(-3, 3, 101, dtype=torch.float64)
    h = 1.5 * (1 + 1e-3)
    expected = [round(h * math.tanh(v + math.atanh(0.5 / h)) - 0.5) / 2 for v in z.tolist()]
    got = quantizer((4,)).double()(z[:, None, None]).z.flatten()
    assert torch.allclose(got, torch.tensor(expected, dtype=torch.float64))
    assert got.unique().tolist() == [-1, -0.5, 0, 0.5]


def test_the_symmetric_map_is_its_formula():
    """2 / (L - 1) * floor((L - 1) (tanh z + 1) / 2 + 1/2) - 1."""
    z = torch.linspace(-3, 3, 100, dtype=torch.float64)
    expected = [2 / 3 * math.floor(3 * (math.tanh(v) + 1) / 2 + 0.5) - 1 for v in z.tolist()]
    got = quantizer((4,), "symmetric").double()(z[:, None, None]).z.flatten()
    assert torch.allclose(got, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("variant", ["paper", "symmetric"])
def test_zero_goes_to_the_middle_of_odd_levels_and_the_gradient_is_that_of_the_bound(variant):
    fsq = quantizer((5, 5), variant).double()
    x = torch.tensor([[[0.0, 0.4]]], dtype=torch.float64, requires_grad=True)
    code = fsq(x)
    assert torch.allclose(code.z, torch.tensor([[[0.0, 0.5]]], dtype=torch.float64))
    code.z.sum().backward()
    # 2 tanh (1 + 1e-3 for the paper's margin), over 2: d/dz = 1 - tanh^2.
    margin = 1 + 1e-3 * (variant == "paper")
    expected = margin * (1 - torch.tanh(x.detach()) ** 2)
    assert torch.allclose(x.grad, expected)


def test_two_levels_are_refused_where_they_would_be_one():
    with pytest.raises(RequestError, match="variant=symmetric"):
        quantizer((8, 2))
    assert quantizer((2, 2), "symmetric").codes == 4


@pytest.mark.parametrize("levels", [(), (1,), (5, 0), (3.5,), (2000, 2000, 2000)])
def test_bad_levels_are_refused(levels):
    with pytest.raises(RequestError, match="levels"):
        quantizer(levels, "symmetric")


@given(st.integers(25, 70_000))
@settings(deadline=None, max_examples=25)
def test_levels_come_near_the_codes_asked_for(codes):
    levels = levels_for(codes)
    assert all(5 <= n <= 8 for n in levels)
    assert abs(math.log(math.prod(levels) / codes)) < 0.6
