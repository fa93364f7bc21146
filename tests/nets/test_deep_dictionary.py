"""Deep dictionaries: exact gradients, steps that never raise the objective, and codes against a plain solver."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from narrows.core import Batch
from narrows.data.dataset import Dataset
from narrows.data.scaling import Scaling
from narrows.methods.sparse.deep_dictionary import deep_dictionary
from narrows.nets.dictionaries.deep import _gradient, code_step, cost, level_step, sweep
from narrows.train import optimise


def problem(widths=(5, 9), n=30, d=7):
    draw = torch.Generator().manual_seed(0)
    sizes = [d, *widths]
    levels = [
        F.normalize(torch.randn(b, a, generator=draw, dtype=torch.float64), dim=1)
        for a, b in itertools.pairwise(sizes)
    ]
    return torch.randn(n, d, generator=draw, dtype=torch.float64), levels, draw


def formula(x, z, levels, activation):
    h = z
    for level in reversed(levels[1:]):
        h = h @ level
        h = torch.tanh(h) if activation == "tanh" else h
    return (x - h @ levels[0]).square().sum()


@pytest.mark.parametrize("activation", ["identity", "tanh"])
@pytest.mark.parametrize("widths", [(9,), (5, 9), (6, 5, 9)])
def test_gradients_equal_autograd_s(activation, widths):
    x, levels, draw = problem(widths)
    z = torch.randn(30, 9, generator=draw, dtype=torch.float64).requires_grad_()
    for level in levels:
        level.requires_grad_()
    wanted = torch.autograd.grad(formula(x, z, levels, activation), [*levels, z])
    for block, gradient in enumerate(wanted):
        torch.testing.assert_close(_gradient(x, z, levels, activation, block)[0], gradient)


@pytest.mark.parametrize("activation", ["identity", "tanh"])
@pytest.mark.parametrize("widths", [(9,), (5, 9), (6, 5, 9)])
def test_no_step_raises_the_objective(activation, widths):
    x, levels, _ = problem(widths)
    x, z = 3 * x, torch.zeros(30, 9, dtype=torch.float64)
    costs = [cost(x, z, levels, 0.3, activation)]
    for _ in range(25):
        z = code_step(x, z, levels, 0.3, activation)
        costs.append(cost(x, z, levels, 0.3, activation))
        for depth in reversed(range(len(levels))):
            levels[depth] = level_step(x, z, levels, depth, activation)
            costs.append(cost(x, z, levels, 0.3, activation))
            assert float(levels[depth].norm(dim=1).max()) <= 1 + 1e-12
    assert all(after <= before * (1 + 1e-6) for before, after in itertools.pairwise(costs))
    assert costs[-1] < 0.7 * costs[0]


def test_a_code_solves_the_lasso():
    linear = pytest.importorskip("sklearn.linear_model")
    x, levels, _ = problem(n=4)
    z = torch.zeros(4, 9, dtype=torch.float64)
    for _ in range(4000):
        z = code_step(x, z, levels, 0.3)
    product = (levels[1] @ levels[0]).T.numpy()
    # scikit-learn's objective is 1/(2 D) |x - A z|^2 + alpha |z|_1.
    for row, code in zip(x, z):
        lasso = linear.Lasso(alpha=0.3 / 2 / 7, fit_intercept=False, tol=1e-12, max_iter=100_000)
        wanted = torch.from_numpy(lasso.fit(product, row.numpy()).coef_)
        torch.testing.assert_close(code, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("activation", ["identity", "tanh"])
def test_an_example_s_code_does_not_depend_on_the_others(activation):
    model = deep_dictionary((7,), latents=9, levels=(5,), activation=activation).double().eval()
    x = 5 * torch.randn(6, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    together = model.encode(Batch(x)).z
    for n in range(6):
        torch.testing.assert_close(model.encode(Batch(x[n : n + 1])).z[0], together[n])


def test_the_loss_is_the_objective_and_a_step_is_a_sweep():
    model = deep_dictionary((7,), latents=9, levels=(5,), l1=0.3, iterations=20, sweeps=2).double()
    x = torch.randn(40, 7, generator=torch.Generator().manual_seed(1)).double() + 1
    with torch.no_grad():
        model.decoder.prepare(model, Batch(x))
        loss, levels = model.loss(Batch(x)), model.decoder.levels
        centred, z = x - x.mean(0), loss.passed.code.z
        assert float(loss.total) == pytest.approx(cost(centred, z, levels, 0.3) / 40)
        wanted = [level.clone() for level in levels]
        for _ in range(2):
            z, wanted = sweep(centred, z, wanted, 0.3)
        model.decoder.reinitialise_rows(model, loss.passed)
    for found, level in zip(model.decoder.levels, wanted):
        torch.testing.assert_close(found, level)


def test_training_in_batches_lowers_the_objective():
    x, _, _ = problem(n=256)
    data = Dataset(x.float(), Scaling(), (7,))
    torch.manual_seed(0)
    model = deep_dictionary((7,), latents=20, levels=(7,), l1=0.1)
    before = float(model.loss(data.all()).total)
    optimise(model, data, steps=60, batch_size=64, seed=0)
    assert float(model.loss(data.all()).total) < 0.8 * before
