"""Brownian motion on manifolds, against spherical harmonics, wrapped normal distributions and exact averages."""

import math

import numpy as np
import pytest
import torch
from numpy.polynomial.legendre import legval
from torch.distributions import kl_divergence

from narrows.bottlenecks.manifold import heat
from narrows.bottlenecks.manifold.diffusion import Brownian, Diffusion, Uniform
from narrows.bottlenecks.manifold.projections import exponential, leading, rotation
from narrows.bottlenecks.manifold.spaces import SPACES
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.variational.diffusion_vae import diffusion_vae
from narrows.testing import check_method

DOUBLE = torch.float64


def motion(manifold: str, t: float, rows: int = 1, walk: int = 10) -> Brownian:
    torch.manual_seed(0)
    space = SPACES[manifold]
    u = space.position(torch.randn(1, space.latent, dtype=DOUBLE))
    return Brownian(space, u.expand(rows, -1), torch.full((rows,), t, dtype=DOUBLE), walk)


def on_a_grid(manifold: str, t: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The log of the heat kernel over angles, and the volume that each angle stands for."""
    angle = (torch.arange(20_000, dtype=DOUBLE) + 0.5) * math.pi / 20_000
    step, times = float(angle[1] - angle[0]), torch.full_like(angle, t)
    if manifold == "circle":
        return heat.circle(angle, times), torch.full_like(angle, 2 * step)
    if manifold == "sphere":
        return heat.sphere(angle, times), 2 * math.pi * angle.sin() * step
    share = (1 - angle.cos()) / math.pi * step  # of rotations by random angles
    return heat.rotations(angle, times), 16 * math.sqrt(2) * math.pi**2 * share


@pytest.mark.parametrize("t", [0.05, 0.3, 1.0])
def test_the_kernel_of_the_sphere_is_the_series_of_legendre_polynomials(t):
    angle = np.linspace(0, math.pi - 1e-3, 60)
    degree = np.arange(200)
    series = legval(np.cos(angle), (2 * degree + 1) / (4 * math.pi) * np.exp(-degree * (degree + 1) * t / 2))
    found = heat.sphere(torch.from_numpy(angle), torch.full((60,), t, dtype=DOUBLE)).exp()
    np.testing.assert_allclose(found, series, atol=1e-13 * series.max())


@pytest.mark.parametrize("t", [0.05, 0.3, 1.0])
@pytest.mark.parametrize(("manifold", "decay"), [("circle", 0.5), ("sphere", 1.0), ("so3", 0.5)])
def test_kernels_are_densities_whose_mean_decays(manifold, decay, t):
    """The integral of the kernel is 1, and that of the first eigenfunction e^(-decay t)."""
    logs, volume = on_a_grid(manifold, t)
    mass = logs.exp() * volume
    angle = (torch.arange(20_000, dtype=DOUBLE) + 0.5) * math.pi / 20_000
    first = (1 + 2 * angle.cos()) / 3 if manifold == "so3" else angle.cos()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-4)
    assert float((mass * first).sum()) == pytest.approx(math.exp(-decay * t), abs=1e-4)


@pytest.mark.parametrize(
    ("manifold", "t", "off"),
    [("circle", 1.0, 5e-3), ("sphere", 0.2, 6e-4), ("sphere", 0.8, 1.4e-2), ("so3", 0.5, 1e-3)],
)
def test_the_divergence_is_the_expansion_of_the_exact_one(manifold, t, off):
    logs, volume = on_a_grid(manifold, t)
    exact = float((logs.exp() * volume * (logs + SPACES[manifold].log_volume)).sum())
    found = float(
        kl_divergence(motion(manifold, t), Uniform(SPACES[manifold], torch.zeros((), dtype=DOUBLE)))
    )
    assert abs(found - exact) < 1.1 * off


def test_each_circle_of_the_torus_counts_its_length():
    q, p = motion("torus", 0.3), Uniform(SPACES["torus"], torch.zeros(()))
    one = kl_divergence(motion("circle", 0.3), Uniform(SPACES["circle"], torch.zeros(())))
    torch.testing.assert_close(kl_divergence(q, p), 2 * one)


def test_ten_steps_on_the_sphere():
    """e^(-d t / 2) is .607 for Brownian motion; ten projected steps give .599."""
    q = motion("sphere", 0.5, 60_000)
    torch.manual_seed(1)
    cosine = (q.sample() * q.position).sum(1)
    assert float(cosine.mean()) == pytest.approx(0.599, abs=0.004)
    many = motion("sphere", 0.5, 60_000, walk=60)
    assert float((many.sample() * many.position).sum(1).mean()) == pytest.approx(math.exp(-0.5), abs=0.006)


@pytest.mark.parametrize("manifold", SPACES)
def test_walks_are_of_the_heat_kernel(manifold):
    q = motion(manifold, 0.2, 20_000, walk=40)
    torch.manual_seed(2)
    z = q.sample()
    off = z.mean(0) - q.mean[0]
    assert (off.abs() < 4 * z.std(0) / 140 + 2e-3).all()
    # entropy by draws, against the expansion, which is good at this time
    p = Uniform(q.space, torch.zeros((), dtype=DOUBLE))
    gap = q.log_prob(z) - p.log_prob(z)
    assert float(gap.mean()) == pytest.approx(float(kl_divergence(q, p)[0]), abs=0.035)


@pytest.mark.parametrize("manifold", SPACES)
def test_codes_lie_on_the_manifold(manifold):
    torch.manual_seed(3)
    space = SPACES[manifold]
    bottleneck = Diffusion(manifold).double()
    drawn = bottleneck(torch.randn(6, space.latent + 1, dtype=DOUBLE), samples=(4,))
    for z in (drawn.z, bottleneck.sample(50).z):
        torch.testing.assert_close(space.nearest(z), z)
        torch.testing.assert_close(bottleneck.from_symbols(z).z, z)
        if manifold == "so3":
            matrix = z.unflatten(-1, (3, 3))
            torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3, dtype=DOUBLE).expand_as(matrix))
            torch.testing.assert_close(torch.linalg.det(matrix), torch.ones_like(z[..., 0]))
        if manifold == "rp2":
            torch.testing.assert_close(
                z.unflatten(-1, (3, 3)) @ z.unflatten(-1, (3, 3)), z.unflatten(-1, (3, 3))
            )


@pytest.mark.parametrize("manifold", SPACES)
def test_the_prior_is_uniform(manifold):
    prior = Uniform(SPACES[manifold], torch.zeros((), dtype=DOUBLE))
    torch.manual_seed(4)
    z = prior.sample((20_000,))
    assert ((z.mean(0) - prior.mean).abs() < 4 / 140).all()


def test_projections_have_exact_gradients():
    torch.manual_seed(5)
    a = torch.randn(7, 3, 3, dtype=DOUBLE, requires_grad=True)
    start = leading(a.detach())

    def line(matrix: torch.Tensor) -> torch.Tensor:
        found = leading(matrix)
        return found * (found.detach() * start).sum(-1, keepdim=True).sign()

    def slopes(what, matrix):
        weight = torch.randn_like(what(matrix.detach()))
        (slope,) = torch.autograd.grad((what(matrix) * weight).sum(), matrix)
        direction = torch.randn_like(matrix)
        ends = [(what(matrix.detach() + s * 1e-6 * direction) * weight).sum() for s in (1, -1)]
        return (slope * direction).sum(), (ends[0] - ends[1]) / 2e-6

    for what in (rotation, line):
        found, numeric = slopes(what, a)
        torch.testing.assert_close(found, numeric, rtol=1e-4, atol=1e-6)
    same = torch.eye(3, dtype=DOUBLE)[None].requires_grad_()  # equal singular values
    (slope,) = torch.autograd.grad(rotation(same)[0, 0, 1], same)
    assert slope.isfinite().all()
    torch.testing.assert_close(slope[0, 0, 1], torch.tensor(0.5, dtype=DOUBLE), atol=1e-5, rtol=0)


def test_the_exponential_is_that_of_matrices():
    omega = torch.tensor([[0.3, -0.2, 0.9], [0.0, 0.0, 0.0]], dtype=DOUBLE)
    x, y, z = omega[0]
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=DOUBLE)
    torch.testing.assert_close(
        exponential(omega), torch.stack([torch.matrix_exp(cross), torch.eye(3).double()])
    )


@pytest.mark.parametrize("manifold", ["circle", "sphere", "so3", "rp2"])
def test_the_properties_of_methods(manifold):
    check_method(diffusion_vae, (6,), manifold=manifold, net="mlp:8")


def test_log_ratios_are_those_of_the_exact_kernel():
    bottleneck = Diffusion("sphere").double()
    code = bottleneck(torch.randn(5, 4, dtype=DOUBLE), samples=(3,))
    angle = (code.z * code.q.position).sum(-1).acos()
    expected = heat.sphere(angle, code.q.t.expand(3, 5)) + math.log(4 * math.pi)
    torch.testing.assert_close(code.costs["kl"], expected)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"manifold": "so3", "latent": 3},
            "`latent` must be 9, the width of a code on `manifold='so3'`, but got 3",
        ),
        ({"manifold": "klein"}, "`manifold` must be one of `circle`, `sphere`"),
        ({"time": 2.3}, "`time` must be more than 1e-05 and at most 1 on torus, or 0, but got 2.3"),
        ({"time": -1.0}, "`time` must be more than 1e-05"),
        ({"manifold": "rp2", "time": 0.5}, "at most 0.4 on rp2"),
        ({"walk": 0}, "`walk` must be a whole number of at least 1"),
    ],
)
def test_bad_arguments_are_refused(options, says):
    with pytest.raises(RequestError, match=says):
        diffusion_vae((5,), **options)


def test_the_time_is_bounded():
    model = diffusion_vae((5,), manifold="circle", time=0.5)
    code = model.bottleneck(torch.tensor([[1.0, 0.0, 100.0], [1.0, 0.0, -100.0]]))
    torch.testing.assert_close(code.q.t, torch.tensor([0.5, 1e-5]))
    assert model.encode(Batch(torch.randn(4, 5))).rate.isfinite().all()
