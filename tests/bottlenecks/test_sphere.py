"""Codes on the sphere, against Bessel functions, integrals on a grid and averages of draws."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special
from torch.distributions import kl_divergence

from narrows.audit.evidence.annealing import annealed
from narrows.audit.evidence.likelihood import importance_nll
from narrows.bottlenecks.manifold.directional import Directional, UniformSphere, log_area
from narrows.bottlenecks.manifold.power_spherical import PowerSpherical
from narrows.bottlenecks.manifold.sphere import Sphere
from narrows.bottlenecks.manifold.von_mises_fisher import VonMisesFisher
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.variational.s_vae import s_vae

FAMILIES = [PowerSpherical, VonMisesFisher]


def made(family: type[Directional], width: int, kappa: float, rows: int = 1) -> Directional:
    torch.manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(1, width, dtype=torch.float64), dim=1)
    return family(direction.expand(rows, -1), torch.full((rows,), kappa, dtype=torch.float64))


def marginal(q: Directional, what) -> float:
    """The integral of what(t) p(z) over the sphere, by the angle between z and the direction."""
    ring = math.exp(log_area(q.width - 1))

    def inner(angle: float) -> float:
        t = math.cos(angle)
        logs = float(q.log_density(torch.tensor([t], dtype=torch.float64)))
        return what(t, logs) * math.exp(logs) * math.sin(angle) ** (q.width - 2) * ring

    return integrate.quad(inner, 0, math.pi, epsabs=1e-11, limit=200)[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("width", "kappa"), [(2, 0.7), (3, 4.0), (6, 30.0), (12, 0.01)])
def test_density_moments_and_divergence_are_the_integrals(family, width, kappa):
    q = made(family, width, kappa)
    assert marginal(q, lambda t, logs: 1.0) == pytest.approx(1, abs=1e-8)
    first, second = (float(moment) for moment in q.moments())
    assert marginal(q, lambda t, logs: t) == pytest.approx(first, abs=1e-8)
    assert marginal(q, lambda t, logs: t * t) == pytest.approx(second, abs=1e-8)
    uniform = UniformSphere(torch.zeros(width, dtype=torch.float64))
    assert marginal(q, lambda t, logs: logs + log_area(width)) == pytest.approx(
        float(kl_divergence(q, uniform)), abs=1e-8
    )


@pytest.mark.parametrize("width", [2, 3, 10, 50])
def test_the_normaliser_of_von_mises_and_fisher_is_a_bessel_function(width):
    kappa = torch.tensor([1e-3, 0.5, 3, 50, 1e3, 1e4], dtype=torch.float64)
    q = VonMisesFisher(torch.eye(width, dtype=torch.float64)[:1].expand(6, -1), kappa)
    order, k = width / 2 - 1, kappa.numpy()
    exact = np.log(special.ive(order, k)) + k + (width / 2) * math.log(2 * math.pi) - order * np.log(k)
    np.testing.assert_allclose(-q.log_density(torch.zeros(6, dtype=torch.float64)), exact, rtol=1e-10)
    np.testing.assert_allclose(q.moments()[0], special.ive(order + 1, k) / special.ive(order, k), rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("width", "kappa"), [(2, 1.5), (3, 10.0), (8, 4.0), (5, 5000.0)])
def test_draws_are_of_the_density(family, width, kappa):
    q = made(family, width, kappa)
    torch.manual_seed(1)
    z = q.sample((40_000,))[:, 0]
    torch.testing.assert_close(z.norm(dim=1), torch.ones(len(z), dtype=torch.float64))
    spread = q.variance[0].sqrt() / 200
    assert ((z.mean(0) - q.mean[0]).abs() < 4 * spread).all()
    assert ((z - q.mean[0]).square().mean(0) / q.variance[0] - 1).abs().max() < 0.05
    t = z @ q.direction[0]
    ordered = t.sort().values[:: len(t) // 50][1:-1]
    angles = torch.linspace(0, math.pi, 200_001, dtype=torch.float64)[1:-1]
    logs = q.log_density(angles.cos()) + (width - 2) * angles.sin().log() + log_area(width - 1)
    above = logs.exp().cumsum(0) * (angles[1] - angles[0])  # P(t > cos(angle))
    shares = 1 - np.interp(ordered.acos(), angles, above)
    expected = np.arange(1, len(ordered) + 1) / 50
    assert abs(shares - expected[: len(shares)]).max() < 0.015


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("width", "kappa"), [(2, 0.8), (3, 6.0), (7, 40.0)])
def test_gradients_of_draws_are_those_of_the_mean(family, width, kappa):
    """d E[f(t)] / d kappa, by the draws and by differences of the exact moments."""
    q = made(family, width, kappa, rows=40_000)
    q = family(q.direction, q.concentration.requires_grad_())
    t = (q.rsample() * q.direction).sum(-1)
    for power in (1, 2):
        (slope,) = torch.autograd.grad((t**power).sum(), q.concentration, retain_graph=True)
        ends = [float(made(family, width, kappa + d).moments()[power - 1]) for d in (1e-4, -1e-4)]
        exact = (ends[0] - ends[1]) / 2e-4
        assert float((slope.mean() - exact).abs()) < 4 * float(slope.std()) / 200


@pytest.mark.parametrize("family", FAMILIES)
def test_single_precision_is_enough(family):
    kappa = torch.tensor([1e-4, 1.0, 100.0, 1e4])
    for width in (2, 9, 64):
        direction = torch.eye(width)[:1].expand(4, -1)
        wide, single = (family(direction.to(kind), kappa.to(kind)) for kind in (torch.float64, torch.float32))
        uniform = UniformSphere(torch.zeros(width))
        torch.testing.assert_close(
            kl_divergence(single, uniform), kl_divergence(wide, uniform).float(), atol=1e-5, rtol=1e-5
        )
        z = single.rsample((200,))
        assert z.isfinite().all()
        assert single.log_prob(z).isfinite().all()


@pytest.mark.parametrize("distribution", ["power", "vmf"])
def test_the_likelihood_is_the_integral_over_the_circle(distribution):
    torch.manual_seed(0)
    model = s_vae((3,), latent=2, distribution=distribution, kappa=0.3, net="mlp:8").double().eval()
    x = torch.randn(4, 3, dtype=torch.float64)
    angles = torch.arange(2000, dtype=torch.float64) * (2 * math.pi / 2000)
    z = torch.stack([angles.cos(), angles.sin()], 1)
    with torch.no_grad():
        output = model.decode(z)
        nll = torch.stack([model.likelihood.nll(output, one.expand(2000, 3)) for one in x], 1)
        found = importance_nll(model, Batch(x), 4000)
    exact = -(torch.logsumexp(-nll, 0) - math.log(2000))
    torch.testing.assert_close(found, exact, atol=0.05, rtol=0)
    with pytest.raises(RequestError, match="UniformSphere"):
        annealed(model, Batch(x), chains=2, temperatures=5)


def test_a_fixed_concentration_fixes_the_rate():
    model = s_vae((6,), latent=4, kappa=20.0)
    rate = model.encode(Batch(torch.randn(5, 6))).rate
    exact = kl_divergence(made(PowerSpherical, 4, 20.0), UniformSphere(torch.zeros(4, dtype=torch.float64)))
    torch.testing.assert_close(rate, exact.float().expand(5))


def test_codes_are_returned_to_the_sphere():
    code = Sphere(3).from_symbols(torch.tensor([[0.0, 3.0, 4.0], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(code.z, torch.tensor([[0.0, 0.6, 0.8], [1.0, 0.0, 0.0]]))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"latent": 1}, "`latent` must be a whole number of at least 2, but got 1. The sphere in R"),
        ({"kappa": -1.0}, "`kappa` must be a finite number from 0 to 10000, but got -1"),
        ({"kappa": 1e6}, "`kappa` must be a finite number from 0 to 10000"),
        ({"distribution": "normal"}, "`distribution` must be one of `power`, `vmf`"),
    ],
)
def test_bad_arguments_are_refused(options, says):
    with pytest.raises(RequestError, match=says):
        s_vae((5,), **options)
