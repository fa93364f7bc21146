import numpy as np
import pytest
import torch

from narrows.kernels.quadrature import equal, normalised, trapezium


@pytest.mark.parametrize("seed", range(3))
def test_the_trapezium_rule_is_that_of_numpy(seed):
    rng = np.random.default_rng(seed)
    y = np.concatenate([[-1.0], np.sort(rng.uniform(-1, 3, 20)), [3.0]])
    order = rng.permutation(len(y))
    values = rng.standard_normal(len(y))
    weights = trapezium(torch.from_numpy(y[order]), -1.0, 3.0).numpy()
    assert np.isclose((weights * values[order]).sum(), np.trapezoid(values, y) / 4)


def test_linear_functions_are_integrated_exactly_on_any_points_with_ends():
    y = torch.tensor([0.0, 0.9, 0.1, 1.0, 0.35], dtype=torch.float64)
    assert torch.isclose((trapezium(y) * (3 * y - 1)).sum(), torch.tensor(0.5, dtype=torch.float64))


def test_points_that_are_not_there_change_nothing():
    y = torch.rand(4, 9, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([True] * 6 + [False] * 3)
    garbage = torch.where(mask, y, torch.tensor(float("nan")))
    weights = trapezium(garbage, mask=mask.expand(4, 9))
    assert torch.equal(weights, trapezium(y, mask=mask.expand(4, 9)))
    assert torch.allclose(weights[:, :6], trapezium(y[:, :6]))
    assert torch.equal(weights[:, 6:], torch.zeros(4, 3))
    assert torch.allclose(weights.sum(-1), torch.ones(4))


def test_the_ends_of_the_domain_belong_to_the_outermost_points_as_far_as_a_gap_reaches():
    near, far = torch.tensor([0.1, 0.3, 0.6]), torch.tensor([0.0, 0.1, 0.2])
    assert torch.allclose(trapezium(near), torch.tensor([0.2, 0.25, 0.45]) / 0.9)
    assert torch.allclose(trapezium(far), torch.tensor([0.05, 0.1, 0.15]) / 0.3)


def test_one_point_has_all_the_weight():
    mask = torch.tensor([[True, False], [False, True]])
    assert torch.equal(trapezium(torch.tensor([[0.0, 0.4], [0.2, 0.7]]), mask=mask), mask.float())


def test_no_point_at_all_has_no_weight():
    none = torch.zeros(2, 3, dtype=torch.bool)
    assert torch.equal(equal(none), torch.zeros(2, 3))
    assert torch.equal(normalised(torch.zeros(2, 3)), torch.zeros(2, 3))
    assert torch.equal(trapezium(torch.rand(2, 3), mask=none), torch.zeros(2, 3))
