"""Wasserstein distances against all assignments and against quantiles; TwoNN on cubes."""

from itertools import permutations

import pytest
import torch

from narrows.audit.metrics.transport import intrinsic_dimension, sliced_w1, w1
from narrows.core.check import RequestError


def test_the_distance_is_that_of_the_best_of_all_assignments():
    dice = torch.Generator().manual_seed(0)
    a, b = torch.randn(6, 3, generator=dice), torch.randn(6, 3, generator=dice)
    each = [float((a - b[list(order)]).norm(dim=1).mean()) for order in permutations(range(6))]
    assert w1(a, b) == pytest.approx(min(each), rel=1e-6)
    assert sliced_w1(a, b) <= w1(a, b)


def test_a_shift_costs_its_length():
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    shift = torch.tensor([3.0, 4.0])
    assert w1(x, x + shift) == pytest.approx(5.0, rel=1e-5)
    # the mean |cos| of a random direction and a vector of the plane is 2 / pi
    assert sliced_w1(x, x + shift, slices=20_000) == pytest.approx(5 * 2 / torch.pi, rel=0.02)


@pytest.mark.parametrize("d", [1, 3, 5])
def test_the_dimension_of_a_cube_in_a_larger_space(d):
    dice = torch.Generator().manual_seed(d)
    maps = torch.linalg.qr(torch.randn(12, d, generator=dice)).Q
    found = intrinsic_dimension(torch.rand(3000, d, generator=dice) @ maps.T)
    assert found == pytest.approx(d, rel=0.1)


def test_duplicates_and_unequal_samples_are_refused():
    with pytest.raises(RequestError, match="duplicates"):
        intrinsic_dimension(torch.zeros(5, 2))
    with pytest.raises(RequestError, match="as many examples"):
        w1(torch.zeros(5, 2), torch.zeros(4, 2))
