"""Hamiltonian posteriors: the volume of the dynamics, and the bound on a linear model with exact likelihood."""

import pytest
import torch
from torch import Tensor

from narrows.bottlenecks.flows.hamiltonian import TEMPERINGS, Dynamics, HamiltonianAutoencoder
from narrows.core import Batch, Code, Spec, seeded
from narrows.core.check import RequestError
from narrows.likelihoods import Gaussian
from narrows.methods.variational.hvae import hvae
from objectives.test_importance import D, Z, data, linear_model, log_likelihood


def linear(exact: bool, **options: object) -> HamiltonianAutoencoder:
    """The linear model of the importance-weighted bound, whose posterior is exact or off, with dynamics."""
    model, source = (
        hvae((D,), latent=Z, net="linear", likelihood="gaussian", **options),
        linear_model(exact=exact),
    )  # type: ignore[arg-type]
    model = model.double()
    for name in ("encoder", "decoder", "likelihood"):
        getattr(model, name).load_state_dict(getattr(source, name).state_dict())
    assert isinstance(model, HamiltonianAutoencoder)
    return model


@pytest.mark.parametrize("tempering", TEMPERINGS)
def test_the_volume_changes_by_the_temperature_alone(tempering: str) -> None:
    torch.manual_seed(0)
    model = hvae((3,), latent=2, net="mlp:6", step_size=0.3, tempering=tempering).double()
    assert isinstance(model, HamiltonianAutoencoder)
    for parameter in model.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    batch = Batch(torch.randn(1, 3).double())
    code, geometry = Code(None, p=model.bottleneck.standard()), model.geometry()
    heat, factors = model.dynamics.factors()

    def flow(both: Tensor) -> Tensor:  # from z_0 and rho_0, after its heating
        start, rho = both[None].chunk(2, -1)
        end, momentum = model.move(batch, code, start, rho / heat, geometry)
        return torch.cat([end.z, momentum], -1)[0]

    jacobian = torch.autograd.functional.jacobian(flow, torch.randn(4).double())
    torch.testing.assert_close(torch.linalg.det(jacobian), factors.prod() ** 2)
    torch.testing.assert_close(heat * factors.prod(), torch.ones_like(heat))
    assert (factors <= 1).all()
    assert (len(factors), bool((factors < 1).all())) == (3, tempering != "none")


@torch.no_grad()
@pytest.mark.parametrize("tempering", TEMPERINGS)
def test_its_weights_are_unbiased_estimates_of_the_likelihood(tempering: str) -> None:
    """So that the bound is one: the mean of p(x, z_K) N(rho_K) |det| / q(z_0, rho_0) is p(x)."""
    model, x = linear(False, step_size=0.2, tempering=tempering), data(3)
    with seeded(0):
        passed = model(Batch(x), (60_000,))
        weights = -(model.likelihood.pass_nll(passed) + passed.code.costs["kl"])
    exact = log_likelihood(linear_model(), x)
    found = weights.logsumexp(0) - torch.tensor(60_000.0).log()
    torch.testing.assert_close(found, exact, atol=0.05, rtol=0)
    assert (weights.mean(0) < exact).all()


@torch.no_grad()
def test_from_the_exact_posterior_short_steps_give_the_exact_likelihood() -> None:
    """Equality: from a draw of the posterior, dynamics without tempering conserve log p(x, z) - v^2/2."""
    x, gaps = data(6), []
    exact = log_likelihood(linear_model(), x)
    for step in (0.2, 0.1, 0.001):
        model = linear(True, step_size=step, leapfrog=4, tempering="none")
        with seeded(0):
            passed = model(Batch(x), (200,))
            bound = -(model.likelihood.pass_nll(passed) + passed.code.costs["kl"])
        gaps.append(float((exact - bound).abs().max()))
    assert gaps[0] > 3 * gaps[1] > 0.001
    assert gaps[2] < 1e-5


@torch.no_grad()
def test_moving_tightens_the_bound_of_a_posterior_that_is_off() -> None:
    x = data(4)
    still = float(linear_model().loss(Batch(x.repeat(5000, 1))).total)
    model = linear(False, step_size=0.4, leapfrog=4)
    moved = float(model.loss(Batch(x.repeat(5000, 1))).total)
    exact = -float(log_likelihood(linear_model(), x).mean())
    assert exact < moved < still - 0.2


@torch.no_grad()
def test_the_cost_in_eval_is_that_of_draws() -> None:
    model, x = linear(False, step_size=0.3).eval(), data(5)
    code = model.encode(Batch(x))
    torch.testing.assert_close(code.costs["kl"], model.encode(Batch(x)).costs["kl"], atol=0, rtol=0)
    torch.testing.assert_close(code.costs["kl"][1:3], model.encode(Batch(x[1:3])).costs["kl"])
    with seeded(0):
        many = model.encode(Batch(x), (8_000,)).costs["kl"]
    # Costs are quadratic in the noise, whose mean and mean square are exact in the fixed draws.
    assert ((code.costs["kl"] - many.mean(0)).abs() < 0.35 * many.std(0)).all()


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(RequestError, match="leapfrog"):
        hvae((D,), leapfrog=0)
    with pytest.raises(RequestError, match="step_size"):
        hvae((D,), step_size=0.6)
    with pytest.raises(RequestError, match="tempering"):
        hvae((D,), tempering="hot")
    with pytest.raises(RequestError, match="target"):
        hvae(Spec((D,), target=(2,)))
    with pytest.raises(RequestError, match="latent"):
        Dynamics(0)
    assert isinstance(hvae((D,)).likelihood, Gaussian)
