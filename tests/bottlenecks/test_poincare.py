"""The Poincaré ball and its wrapped normal distributions, against integrals, Lorentz coordinates and flat space."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal

from narrows.audit.evidence.likelihood import importance_nll
from narrows.bottlenecks.manifold import ball
from narrows.bottlenecks.manifold.poincare import Poincare, WrappedNormal
from narrows.bottlenecks.variational import ratio
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.variational.poincare_vae import poincare_vae
from narrows.nets.gyroplane import Gyroplanes

DOUBLE = torch.float64


def points(n: int, width: int, c: float, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(n, width, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))
    return ball.from_origin(noise, c)


def lorentz(x: torch.Tensor) -> torch.Tensor:
    """Points of the ball of curvature -1 on the hyperboloid, in R^(Z + 1)."""
    square = x.square().sum(-1, keepdim=True)
    return torch.cat([1 + square, 2 * x], -1) / (1 - square)


@pytest.mark.parametrize("c", [0.3, 1.0, 2.5])
def test_distances_are_those_of_the_hyperboloid(c):
    x, y = points(50, 3, c), points(50, 3, c, 1)
    a, b = lorentz(x * c**0.5), lorentz(y * c**0.5)
    inner = a[:, 0] * b[:, 0] - (a[:, 1:] * b[:, 1:]).sum(1)
    torch.testing.assert_close(ball.distance(x, y, c), inner.acosh() / c**0.5)


@pytest.mark.parametrize("c", [0.3, 1.0, 2.5])
def test_geodesics_have_the_length_of_their_tangent(c):
    x, v = points(50, 3, c), torch.randn(50, 3, dtype=DOUBLE)
    y = ball.exponential(x, v, c)
    torch.testing.assert_close(ball.distance(x, y, c), v.norm(dim=1))
    torch.testing.assert_close(ball.logarithm(x, y, c), v)
    half = ball.exponential(x, v / 2, c)
    torch.testing.assert_close(ball.distance(x, half, c), ball.distance(half, y, c))


@pytest.mark.parametrize("c", [0.3, 1.0])
def test_the_wrapped_normal_is_a_density(c):
    q = WrappedNormal(points(1, 2, c)[0], torch.tensor([0.7, 0.4], dtype=DOUBLE), c)
    line = torch.linspace(-1, 1, 801, dtype=DOUBLE) / c**0.5
    z = torch.cartesian_prod(line, line)
    z = z[c * z.square().sum(1) < 0.9995]
    area = (2 / (1 - c * z.square().sum(1))).square() * (line[1] - line[0]) ** 2
    assert float((q.log_prob(z).exp() * area).sum()) == pytest.approx(1, abs=1e-3)
    torch.manual_seed(0)
    drawn = q.sample((100_000,))
    for low in (0.1, 0.3):  # the share of draws in a disc
        inside = z.norm(dim=1) < low / c**0.5
        share = float((q.log_prob(z[inside]).exp() * area[inside]).sum())
        assert float((drawn.norm(dim=1) < low / c**0.5).double().mean()) == pytest.approx(share, abs=6e-3)


def test_without_curvature_it_is_the_normal_distribution():
    torch.manual_seed(0)
    mean, scale = torch.randn(5, 3, dtype=DOUBLE), torch.rand(5, 3, dtype=DOUBLE) + 0.5
    q = WrappedNormal(ball.from_origin(mean, 1e-8), scale, 1e-8)
    z = q.sample((4,))
    flat = Independent(Normal(mean, scale), 1)
    torch.testing.assert_close(
        q.log_prob(z), flat.log_prob(2 * z), atol=1e-5, rtol=1e-5
    )  # a code is half of v


def test_single_precision_is_enough_far_from_the_origin():
    bottleneck = Poincare(2)
    h = torch.tensor(
        [[9.0, 0.0, -4.0, -4.0], [0.0, 60.0, 3.0, 3.0], [0.0, 0.0, -20.0, -20.0]], requires_grad=True
    )
    code = bottleneck(h, samples=(200,))
    assert (code.z.norm(dim=-1) < 1).all()
    assert code.costs["kl"].isfinite().all()
    (slope,) = torch.autograd.grad(bottleneck(h).costs["kl"].sum(), h)
    assert slope.isfinite().all()
    wide = bottleneck.double()(h.detach()[:1].double(), samples=(4000,)).costs["kl"].mean()
    torch.testing.assert_close(code.costs["kl"][:, 0].mean().double(), wide, atol=0.3, rtol=0)


def test_the_cost_is_the_log_ratio_and_its_mean_over_fixed_draws():
    torch.manual_seed(0)
    bottleneck = Poincare(3, curvature=0.7).double()
    h = 0.5 * torch.randn(6, 6, dtype=DOUBLE)
    code = bottleneck.train()(h)
    torch.testing.assert_close(code.costs["kl"], ratio(code.z, code.q, code.p))
    fixed = bottleneck.eval()(h).costs["kl"]
    torch.testing.assert_close(fixed, bottleneck(h).costs["kl"], atol=0, rtol=0)
    torch.testing.assert_close(fixed[2:3], bottleneck(h[2:3]).costs["kl"])
    many = bottleneck(h, samples=(20_000,)).costs["kl"]
    assert ((fixed - many.mean(0)).abs() < 2 * many.std(0) / 4).all()


def test_the_likelihood_is_the_integral_over_hyperbolic_space():
    torch.manual_seed(0)
    model = poincare_vae((3,), latent=1, net="mlp:8", gyroplanes=5).double().eval()
    x = torch.randn(4, 3, dtype=DOUBLE)
    v = torch.linspace(-8, 8, 20_001, dtype=DOUBLE)[:, None]  # in one dimension, v is the arc length
    with torch.no_grad():
        output = model.decode(ball.from_origin(v, 1.0))
        nll = torch.stack([model.likelihood.nll(output, one.expand(len(v), 3)) for one in x], 1)
        found = importance_nll(model, Batch(x), 4000)
    exact = -torch.logsumexp(Normal(0, 1).log_prob(v) - nll, 0) - torch.log(v[1, 0] - v[0, 0])
    torch.testing.assert_close(found, exact, atol=0.05, rtol=0)


@pytest.mark.parametrize("c", [0.5, 1.0])
def test_gyroplanes_are_distances_to_the_nearest_point_of_a_plane(c):
    torch.manual_seed(0)
    layer, z = Gyroplanes(2, 3, c).double(), points(5, 2, c)
    with torch.no_grad():
        found = layer(z)
        p = ball.from_origin(layer.tangents, c)
        for k, normal in enumerate(layer.normals):
            along = torch.stack([-normal[1], normal[0]]) / normal.norm()
            line = torch.linspace(-12, 12, 200_001, dtype=DOUBLE)[:, None] * along
            plane = ball.exponential(p[k], line, c)
            for i, point in enumerate(z):
                nearest = ball.distance(plane, point, c).min()
                torch.testing.assert_close(found[i, k].abs(), normal.norm() * nearest, atol=1e-4, rtol=1e-4)


def test_without_curvature_gyroplanes_are_affine():
    layer, z = Gyroplanes(3, 4, 1e-8).double(), torch.randn(6, 3, dtype=DOUBLE)
    affine = 2 * (z[:, None] - layer.tangents / 2) * layer.normals
    torch.testing.assert_close(layer(z), affine.sum(-1), atol=1e-5, rtol=1e-5)


def test_codes_are_returned_to_the_ball():
    code = Poincare(2, curvature=4.0).from_symbols(torch.tensor([[3.0, 4.0], [0.1, 0.2]]))
    torch.testing.assert_close(code.z, torch.tensor([[0.3, 0.4], [0.1, 0.2]]), atol=1e-4, rtol=0)
    assert math.isclose(float(code.z[0].norm()), 0.5, rel_tol=1e-4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"curvature": 0.0},
            "`curvature` must be more than 0 and at most 100, but got 0.0. Try curvature=1.0. For a flat",
        ),
        ({"curvature": -1.0}, "`curvature` must be more than 0"),
        ({"curvature": 1e3}, "`curvature` must be a finite number of at most 100"),
        ({"spread": 0.0}, "`spread` must be more than 0"),
        ({"gyroplanes": -1}, "`gyroplanes` must be a whole number of at least 0"),
    ],
)
def test_bad_arguments_are_refused(options, says):
    with pytest.raises(RequestError, match=says):
        poincare_vae((5,), **options)


def test_the_divergence_of_a_narrow_posterior_at_the_edge_is_not_lost_in_rounding():
    """In single precision points there are farther apart than the posterior is wide."""
    torch.manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(200, 6), dim=1)
    h = torch.cat([13 * direction, torch.full((200, 6), -20.0)], 1)
    bottleneck = Poincare(6).eval()
    found = bottleneck(h).costs["kl"].detach()
    exact = bottleneck.double()(h.double()).costs["kl"].detach()
    torch.testing.assert_close(found.double(), exact, rtol=0.05, atol=0.0)
