"""The linear part of an error against closed forms, least squares of NumPy, and finite differences."""

import numpy as np
import pytest
import torch
from audit_models import plain_model, sparse_model

from narrows.audit.evaluations import EVALUATIONS
from narrows.audit.evaluations.dark_matter import DarkMatter
from narrows.audit.evidence.view import examine
from narrows.audit.metrics.linear_error import linear_error, linear_residual, pursuit_step
from narrows.core import evaluation_mode

FIGURES = ("error", "norm", "nonlinear-fvu", "pursuit")


def test_the_residual_is_that_of_least_squares():
    x, y = torch.randn(80, 5), torch.randn(80, 3)
    x[:, 4] = x[:, 0] - x[:, 1]  # a direction in which x does not vary
    fit, test = torch.arange(50), torch.arange(50, 80)
    ones = np.ones((80, 1))
    design = np.hstack([x.double().numpy(), ones])
    weights = np.linalg.lstsq(design[:50], y[:50].double().numpy(), rcond=1e-5)[0]
    expected = y[50:].double().numpy() - design[50:] @ weights
    assert np.allclose(linear_residual(x, y, fit, test).numpy(), expected, atol=1e-6)


def _planted(withheld, alike=False, seed=0, rows=40_000, d=16, atoms=24):
    """x = s A with sparse s, and the error of a code that lacks the first atoms."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(atoms, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rate, size = rng.uniform(0.05, 0.3, atoms), rng.uniform(0.5, 2, atoms)
    if alike:
        rate, size = np.full(atoms, 0.15), np.ones(atoms)
    s = (rng.random((rows, atoms)) < rate) * rng.uniform(0.5, 1.5, (rows, atoms)) * size
    variance = size**2 * (rate * (1 + 1 / 12) - rate**2)  # of Bernoulli times uniform
    missing = directions[:withheld] * np.sqrt(variance[:withheld, None])
    every = directions * np.sqrt(variance[:, None])
    cross, own = missing.T @ missing, missing.T @ missing
    explained = cross @ np.linalg.inv(every.T @ every) @ cross.T
    closed = np.trace(explained) / np.trace(own)
    x, error = s @ directions, s[:, :withheld] @ directions[:withheld]
    return torch.from_numpy(x), torch.from_numpy(error), closed


@pytest.mark.parametrize("withheld", [4, 12, 20])
def test_half_a_planted_dictionary_leaves_the_error_of_the_closed_form(withheld):
    x, error, closed = _planted(withheld)
    fit, test = torch.arange(0, len(x), 2), torch.arange(1, len(x), 2)
    found = linear_error(x, error, x, fit, test)
    assert abs(found.error - closed) < 0.02
    left = (1 - found.error) * (error[test] - error[test].mean(0)).square().sum()
    assert found.nonlinear == pytest.approx(float(left / (x[test] - x[test].mean(0)).square().sum()))


def test_the_linear_part_rises_with_the_withheld_variance():
    shares = []
    for withheld in (2, 8, 16, 22):
        x, error, _ = _planted(withheld, alike=True)
        fit, test = torch.arange(0, len(x), 2), torch.arange(1, len(x), 2)
        shares.append(linear_error(x, error, x, fit, test).error)
    assert shares == sorted(shares)


def test_a_step_of_pursuit_is_a_gradient_step_with_the_best_length():
    torch.manual_seed(0)
    atoms, z, x = torch.randn(7, 4).double(), torch.zeros(1, 7).double(), 3 * torch.randn(1, 4).double()
    z[0, 2] = 0.7
    unit = atoms / atoms.norm(dim=1, keepdim=True)
    values = (z * atoms.norm(dim=1)).requires_grad_()
    rest = x - values @ unit
    (gradient,) = torch.autograd.grad(0.5 * rest.square().sum(), values)
    best = int((rest @ unit.T).argmax())
    on = torch.zeros(7, dtype=torch.bool)
    on[[2, best]] = True
    move = torch.where(on, -gradient[0], 0)
    lengths = torch.linspace(0, 3, 30_001).double()
    errors = (x - (values.detach() + lengths[:, None] * move) @ unit).square().sum(1)
    new = (values.detach() + lengths[errors.argmin()] * move).clamp_min(0)
    found = pursuit_step(rest.detach(), z, atoms)
    assert torch.allclose(found, x - new @ unit, atol=1e-3)
    assert float(found.square().sum()) < float(rest.detach().square().sum())


def test_the_evaluation_has_figures_with_chance_spread_and_rows():
    view = examine(sparse_model(), torch.randn(1500, 6), 200, seed=0)
    assert DarkMatter().lacks(view) == ""
    with evaluation_mode(view.model):
        found, again = DarkMatter(tokens=1000)(view), DarkMatter(tokens=1000)(view)
    assert found == again
    assert [check.name for check in found.checks] == [f"dark-matter/{name}" for name in FIGURES]
    for check in found.checks:
        assert check.n == 1000
        assert check.spread > 0
    error, norm, nonlinear, pursuit = found.checks
    assert error.chance < 0.02 < error.value < 1  # an untrained code has a linear error
    assert norm.chance < 0.02
    assert nonlinear.value < nonlinear.chance
    assert pursuit.value != pursuit.chance


def test_too_few_rows_and_dense_codes_are_refused_with_a_reason():
    few = examine(sparse_model(), torch.randn(59, 6), 200, seed=0)
    assert "60 rows, and there are 59" in DarkMatter().lacks(few)
    assert "no sparse code" in DarkMatter().lacks(examine(plain_model(), torch.randn(500, 6), 64, seed=0))
    assert EVALUATIONS.make("dark-matter:tokens=100").tokens == 100
