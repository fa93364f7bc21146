"""Hamiltonian posteriors: the volume of the dynamics, and the bound on a linear model with exact likelihood."""

import pytest
import torch
from torch import Tensor

from narrows.audit.evidence.cost import flops
from narrows.bottlenecks.flows.hamiltonian import TEMPERINGS, Dynamics, HamiltonianAutoencoder
from narrows.bottlenecks.flows.riemannian import RiemannianAutoencoder
from narrows.core import Batch, Code, Spec, seeded
from narrows.core.check import RequestError
from narrows.likelihoods import Gaussian
from narrows.methods.variational.hvae import hvae
from narrows.methods.variational.rhvae import rhvae
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
        many = model.encode(Batch(x), (6_000,)).costs["kl"]
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


def riemannian(**options: object) -> tuple[RiemannianAutoencoder, Batch]:
    """A small model with a metric that varies over the codes, and data."""
    torch.manual_seed(0)
    model = rhvae((3,), latent=2, net="mlp:6", centroids=4, **options).double()  # type: ignore[arg-type]
    assert isinstance(model, RiemannianAutoencoder)
    for parameter in model.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    model.metric.prepare(model, Batch(2 * torch.randn(30, 3).double()))
    return model, Batch(torch.randn(4, 3).double())


def test_the_inverse_metric_is_a_sum_over_centroids() -> None:
    model, _ = riemannian(temperature=0.7, regularisation=0.3)
    field, z = model.metric(), torch.randn(2, dtype=torch.float64)
    expected = 0.3 * torch.eye(2).double()
    for centre, factor in zip(field.centres, field.factors, strict=True):
        assert factor[0, 1] == 0
        expected = expected + factor @ factor.T * torch.exp(-((z - centre) ** 2).sum() / 0.7**2)
    local = field.local(z)
    torch.testing.assert_close(local.factor @ local.factor.T, expected)
    torch.testing.assert_close(field.log_det(z), -torch.linalg.slogdet(expected)[1])
    torch.testing.assert_close(local.velocity(torch.ones(2).double()), expected @ torch.ones(2).double())


def test_momenta_have_the_metric_as_covariance_and_its_energy() -> None:
    model, _ = riemannian()
    field, z = model.metric(), torch.randn(2, dtype=torch.float64)
    inverse = field.local(z).factor @ field.local(z).factor.T
    with seeded(0):
        gamma = torch.randn(60_000, 2, dtype=torch.float64)
    momenta = field.momentum(z.expand_as(gamma), gamma)
    torch.testing.assert_close(torch.cov(momenta.T), torch.linalg.inv(inverse), rtol=0.05, atol=0.05)
    gaussian = torch.distributions.MultivariateNormal(torch.zeros(2).double(), precision_matrix=inverse)
    constant = torch.log(torch.tensor(2 * torch.pi)).double()
    torch.testing.assert_close(field.kinetic(z, momenta[0]), -gaussian.log_prob(momenta[0]) - constant)


def test_forces_are_gradients_of_the_kinetic_energy() -> None:
    model, _ = riemannian()
    field = model.metric()
    z, momentum = (torch.randn(5, 2, dtype=torch.float64) for _ in range(2))
    z.requires_grad_()
    (slope,) = torch.autograd.grad(field.kinetic(z, momentum).sum(), z)
    torch.testing.assert_close(field.force(field.local(z), momentum), -slope)


def test_steps_in_a_metric_preserve_volume_and_nearly_the_energy() -> None:
    model, batch = riemannian(step_size=0.05, tempering="none", iterations=12, leapfrog=2)
    one = Batch(batch.x[:1])
    code, field = Code(None, p=model.bottleneck.standard()), model.geometry()

    def flow(both: Tensor) -> Tensor:
        start, rho = both[None].chunk(2, -1)
        # The factor of the metric at the start turns a momentum into the numbers from which it is made.
        gamma = (field.local(start).factor.mT @ rho[..., None]).squeeze(-1)  # type: ignore[attr-defined]
        end, momentum = model.move(one, code, start, gamma, field)
        return torch.cat([end.z, momentum], -1)[0]

    for _ in range(3):
        z = torch.randn(1, 2).double()
        start = torch.cat([z, field.momentum(z, torch.randn(1, 2).double())], -1)[0].detach()
        jacobian = torch.autograd.functional.jacobian(flow, start)
        assert float(torch.linalg.det(jacobian)) == pytest.approx(1, abs=1e-5)

        def energy(both: Tensor) -> float:
            z, rho = both[None].chunk(2, -1)
            return float(field.kinetic(z, rho) - model.at(one, code.p, z).value)  # type: ignore[arg-type]

        assert energy(flow(start).detach()) == pytest.approx(energy(start), abs=0.05)


@torch.no_grad()
def test_weights_in_a_metric_are_unbiased_estimates_of_the_likelihood() -> None:
    torch.manual_seed(0)
    source = linear_model()
    model = rhvae(
        (D,), latent=Z, net="linear", likelihood="gaussian", step_size=0.05, iterations=8, regularisation=0.5
    )
    model = model.double()
    for name in ("encoder", "decoder", "likelihood"):
        getattr(model, name).load_state_dict(getattr(source, name).state_dict())
    assert isinstance(model, RiemannianAutoencoder)
    model.metric.prepare(model, Batch(data(30, seed=2)))
    x = data(3)
    with seeded(0):
        passed = model(Batch(x), (6_000,))
        weights = -(model.likelihood.pass_nll(passed) + passed.code.costs["kl"])
    found = weights.logsumexp(0) - torch.tensor(6_000.0).log()
    torch.testing.assert_close(found, log_likelihood(linear_model(), x), atol=0.08, rtol=0)


def test_bad_metrics_are_refused() -> None:
    for options in ({"centroids": 0}, {"temperature": 0.0}, {"regularisation": -1.0}, {"iterations": 0}):
        with pytest.raises(RequestError, match=next(iter(options))):
            rhvae((D,), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("build", [hvae, rhvae])
def test_its_operations_can_be_counted(build):
    model = build((6,), latent=2, net="mlp:8").eval()
    batch = Batch(torch.randn(4, 6))
    with torch.no_grad():
        assert flops(lambda: model(batch)) > flops(lambda: model.decoder(torch.zeros(4, 2)))
