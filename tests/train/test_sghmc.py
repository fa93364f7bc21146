"""SGHMC against Gaussian posteriors in closed form, and against the exact covariance of its own linear recursion."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from narrows.core.check import RequestError
from narrows.train import Plan
from narrows.train.optimizers import make_optimizer
from narrows.train.sghmc import SGHMC


def regression(rows=40):
    """Bayesian linear regression with noise of variance 1/4 and weights N(0, 4): the exact posterior."""
    random = torch.Generator().manual_seed(0)
    x = (
        torch.randn(rows, 3, dtype=torch.double, generator=random)
        @ torch.tensor([[1.0, 0.6, 0], [0, 0.8, 0], [0, 0, 0.5]]).double()
    )
    y = x @ torch.tensor([1.0, -2.0, 0.5]).double() + 0.5 * torch.randn(
        rows, dtype=torch.double, generator=random
    )
    precision = x.T @ x / 0.25 + torch.eye(3) / 4
    covariance = torch.linalg.inv(precision)
    return x, y, covariance @ x.T @ y / 0.25, covariance


def loss(w, x, y, rows):
    """Mean -log p(y | x, w) of the batch (R, B, 3) of each chain (R, 3), summed over independent chains."""
    errors = 0.5 * (y - (x * w[:, None]).sum(2)).square().mean(1) / 0.25
    return (errors + 0.5 * w.square().sum(1) / 4 / rows).sum()


@pytest.mark.parametrize(("batch", "lr", "steps"), [(40, 0.04, 250), (20, 0.01, 700)])
def test_draws_have_mean_and_covariance_of_the_posterior(batch, lr, steps):
    """A batch of half the rows adds gradient noise, which widens the posterior a little at a small step."""
    x, y, mean, covariance = regression()
    w = nn.Parameter(torch.zeros(500, 3, dtype=torch.double))
    chain = SGHMC([w], lr=lr, rows=len(x), friction=0.1)
    random = torch.Generator().manual_seed(1)
    for _ in range(steps):
        rows = torch.rand(len(w), len(x), generator=random).argsort(1)[:, :batch]
        chain.zero_grad()
        loss(w, x[rows], y[rows], len(x)).backward()
        chain.step()
    draws = w.detach()
    scale = covariance.diagonal().sqrt()
    assert ((draws.mean(0) - mean).abs() < 0.15 * scale).all()
    found = torch.cov(draws.T) / scale / scale[:, None]
    wanted = covariance / scale / scale[:, None]
    assert (found - wanted).abs().max() < (0.15 if batch == 40 else 0.2)


def test_the_scale_of_the_energy_is_the_number_of_rows():
    """The trap: with the mean loss alone the posterior would be wider by the root of N."""
    widths = {}
    for rows in (1, 100):
        w = nn.Parameter(torch.zeros(20_000))
        chain = SGHMC([w], lr=0.1, rows=rows, friction=0.2)
        for _ in range(200):
            chain.zero_grad()
            (0.5 * w.square().sum()).backward()
            chain.step()
        widths[rows] = float(w.detach().std())
    assert widths[1] == pytest.approx(1, abs=0.03)
    assert widths[100] == pytest.approx(0.1, abs=0.003)


def test_a_step_is_the_equation():
    w = nn.Parameter(torch.tensor([1.0, -2.0]))
    chain = SGHMC([w], lr=0.01, rows=50, friction=0.3, weight_decay=0.5, seed=7)
    expected, speed = w.detach().clone(), torch.zeros(2)
    for step in range(3):
        gradient = 3 * expected + 0.5 * expected  # of the loss, and of the prior
        noise = torch.randn(2, generator=torch.Generator().manual_seed(7 * 1_000_003 + step))
        h = 0.3 * 0.01 / 50
        speed = 0.7 * speed - h * 50 * gradient + math.sqrt(2 * 0.3 * h) * noise
        expected = expected + speed
        chain.zero_grad()
        (1.5 * w.square().sum()).backward()
        chain.step()
        torch.testing.assert_close(w.detach(), expected)


def test_adapted_scales_leave_the_posterior_as_it_is():
    """Two tensors with deviations 1 and 0.01: one learning rate fits both, and their draws have these deviations."""
    wide, narrow = (nn.Parameter(torch.zeros(5000)) for _ in range(2))
    chain = SGHMC([wide, narrow], lr=0.01, rows=10, friction=0.2, adapt=200)
    for step in range(1500):
        if step == 200:
            rates = [float(chain.state[p]["square"]) for p in (wide, narrow)]
        chain.zero_grad()
        (0.5 * (wide.square().sum() + 1e4 * narrow.square().sum()) / 10).backward()
        chain.step()
    assert [float(chain.state[p]["square"]) for p in (wide, narrow)] == rates
    assert rates[1] > 100 * rates[0]
    assert float(wide.detach().std()) == pytest.approx(1, abs=0.04)
    assert float(narrow.detach().std()) == pytest.approx(0.01, rel=0.04)


def test_a_stored_chain_goes_on_alike():
    def steps(chain, w, count):
        for _ in range(count):
            chain.zero_grad()
            (0.5 * w.square().sum()).backward()
            chain.step()

    first, second = (nn.Parameter(torch.ones(5)) for _ in range(2))
    whole = SGHMC([first], lr=0.1, rows=3, adapt=5, seed=1)
    steps(whole, first, 7)
    before = SGHMC([second], lr=0.1, rows=3, adapt=5, seed=1)
    steps(before, second, 4)
    after = SGHMC([second], lr=0.1, rows=99)
    after.load_state_dict(before.state_dict())
    torch.manual_seed(5)  # the noise does not depend on the state of the global generator
    steps(after, second, 3)
    assert torch.equal(first, second)


def test_it_is_an_optimizer_that_a_text_names():
    w = nn.Parameter(torch.zeros(2))
    made = make_optimizer("sghmc:rows=200,friction=0.1", [w], 1e-3, 0.5)
    assert isinstance(made, SGHMC)
    assert [made.param_groups[0][k] for k in ("rows", "friction", "weight_decay")] == [200, 0.1, 0.5]
    assert Plan(optimizer="sghmc:rows=200").optimizer == "sghmc:rows=200"
    for bad in ("sghmc:friction=0", "sghmc:friction=1.5", "sghmc:rows=0"):
        with pytest.raises(RequestError):
            make_optimizer(bad, [w], 1e-3)
    assert np.isfinite(w.detach().numpy()).all()
