"""Geodesics between codes of manifolds, and the paths of traversals."""

import math

import pytest
import torch

from narrows.audit import audit
from narrows.bottlenecks.deterministic.identity import Identity
from narrows.bottlenecks.manifold import ball
from narrows.bottlenecks.manifold.diffusion import Diffusion
from narrows.bottlenecks.manifold.poincare import Poincare
from narrows.bottlenecks.manifold.projections import exponential, logarithm
from narrows.bottlenecks.manifold.simplex import Simplex
from narrows.bottlenecks.manifold.sphere import Sphere
from narrows.data import open as open_data
from narrows.methods.variational.diffusion_vae import diffusion_vae
from narrows.methods.variational.s_vae import s_vae
from narrows.runs.fit import fit

BOTTLENECKS = [
    Sphere(2),
    Sphere(5),
    *(Diffusion(name) for name in ("circle", "sphere", "torus", "so3", "rp2")),
    Poincare(2, curvature=2.0),
    Poincare(4),
    Simplex(3),
]
NAMED = [f"{type(b).__name__}-{getattr(b, 'latent', '')}-{i}" for i, b in enumerate(BOTTLENECKS)]
T = torch.linspace(0, 1, 9)[:, None]


def codes(bottleneck, n):
    torch.manual_seed(0)
    return bottleneck.sample(n).z.double()


@pytest.mark.parametrize("bottleneck", BOTTLENECKS, ids=NAMED)
def test_geodesics_stay_on_the_manifold_and_have_constant_speed(bottleneck):
    """Each point is its own nearest point of the manifold; steps of fine curves are equally long."""
    a, b = codes(bottleneck, 2).split(1)
    fine = torch.linspace(0, 1, 2001, dtype=torch.double)[:, None]
    line = bottleneck.between(a, b, fine)
    assert torch.allclose(line[[0, -1]], torch.cat([a, b]), atol=1e-6)
    assert torch.allclose(bottleneck.from_symbols(line).z, line, atol=1e-6)
    if isinstance(bottleneck, Poincare):
        steps = ball.distance(line[:-1], line[1:], bottleneck.curvature)
        assert float(steps.sum()) == pytest.approx(float(ball.distance(a, b, bottleneck.curvature)), rel=1e-5)
    else:
        steps = (line[1:] - line[:-1]).norm(dim=-1)
    assert torch.allclose(steps, steps.mean().expand_as(steps), rtol=1e-3)


def test_the_length_on_a_sphere_is_the_angle():
    a, b = codes(Sphere(5), 2).split(1)
    line = Sphere(5).between(a, b, torch.linspace(0, 1, 5001, dtype=torch.double)[:, None])
    assert float((line[1:] - line[:-1]).norm(dim=-1).sum()) == pytest.approx(
        float((a @ b.T).acos()), rel=1e-6
    )


def test_the_way_between_opposite_points_is_half_of_a_great_circle():
    a = torch.tensor([[0.0, 1.0, 0.0]])
    line = Sphere(3).between(a, -a, T)
    assert torch.allclose(line[:, 1], (T[:, 0] * math.pi).cos(), atol=1e-6)
    assert torch.allclose(line.norm(dim=1), torch.ones(9))


def test_on_the_torus_each_angle_goes_the_shorter_way():
    first, last = torch.tensor([3.0, 0.2]), torch.tensor([-3.0, 1.2])  # the first one passes pi

    def code(angles):
        return torch.stack([angles.cos(), angles.sin()], -1).flatten(-2)

    line = Diffusion("torus").between(code(first)[None], code(last)[None], T)
    expected = first + T * torch.tensor([2 * math.pi - 6.0, 1.0])
    assert torch.allclose(line, code(expected), atol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 1e-3, 1.0, 3.1, math.pi])
def test_rotations_on_the_way_have_shares_of_the_angle(angle):
    torch.manual_seed(0)
    axis = torch.nn.functional.normalize(torch.randn(3, dtype=torch.double), dim=0)
    begin = codes(Diffusion("so3"), 1).unflatten(-1, (3, 3))
    end = begin @ exponential(angle * axis)
    line = Diffusion("so3").between(begin.flatten(1), end.flatten(1), T.double()).unflatten(-1, (3, 3))
    ways = [begin @ exponential(sign * angle * T.double() * axis) for sign in (1, -1)]
    found = [float((line - way).abs().max()) for way in ways]
    assert (min(found) if angle == math.pi else found[0]) < 1e-5


def test_the_logarithm_is_the_inverse_of_the_exponential():
    torch.manual_seed(0)
    omega = torch.randn(100, 3, dtype=torch.double)
    omega = omega / omega.norm(dim=1, keepdim=True) * torch.linspace(0, 3.14, 100)[:, None].double()
    assert torch.allclose(logarithm(exponential(omega)), omega, atol=1e-5)


def test_lines_take_the_smaller_angle():
    u, v = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([-0.6, 0.8, 0.0])  # 127 degrees apart: 53 as lines
    a, b = ((x[:, None] * x).flatten()[None] for x in (u, v))
    middle = Diffusion("rp2").between(a, b, torch.tensor([[0.5]])).unflatten(-1, (3, 3))[0]
    w = torch.tensor([1.6, -0.8, 0.0])
    assert torch.allclose(middle, w[:, None] * w / w.square().sum(), atol=1e-5)


def test_a_geodesic_of_the_disc_through_its_centre_is_straight_and_others_are_circles():
    """Circles meet the edge at right angles: |centre|^2 = 1 + radius^2."""
    disc = Poincare(2)
    straight = disc.between(torch.tensor([[-0.5, 0.0]]), torch.tensor([[0.5, 0.0]]), T)
    assert torch.allclose(straight[:, 0], (T[:, 0] * 2 - 1).mul(math.atanh(0.5)).tanh(), atol=1e-6)
    line = disc.between(torch.tensor([[0.5, 0.3]]), torch.tensor([[-0.2, 0.7]]), T).double()
    # 2 <z, centre> = |z|^2 + 1 for all points of such a circle
    centre = torch.linalg.lstsq(2 * line, line.square().sum(1, keepdim=True) + 1).solution
    assert torch.allclose(2 * line @ centre, line.square().sum(1, keepdim=True) + 1, atol=1e-6)


@pytest.mark.parametrize("bottleneck", BOTTLENECKS, ids=NAMED)
def test_paths_of_traversals_stay_on_the_manifold(bottleneck):
    z = codes(bottleneck, 200)
    low, high = z.quantile(torch.tensor([0.01, 0.99], dtype=torch.double), 0)
    paths = bottleneck.paths(z[0], low, high, 9)
    count = {"circle": 1, "torus": 2}.get(getattr(getattr(bottleneck, "map", None), "__name__", ""))
    expected = (count or 3) if isinstance(bottleneck, Diffusion) else bottleneck.latent
    assert len(paths) == expected
    for path in paths.values():
        assert path.shape == (9, bottleneck.latent)
        assert torch.allclose(bottleneck.from_symbols(path).z, path, atol=1e-6)


@pytest.mark.parametrize("name", ["circle", "torus", "sphere", "so3", "rp2"])
def test_turns_begin_and_end_at_the_code(name):
    z = codes(Diffusion(name), 1)[0]
    for path in Diffusion(name).paths(z, z, z, 9).values():
        assert torch.allclose(path[[0, -1]], z.expand(2, -1), atol=1e-6)
        assert float((path[1] - path[0]).norm()) > 0.01


def test_a_path_on_the_sphere_or_simplex_moves_one_latent_over_its_range():
    z = torch.tensor([0.6, 0.0, 0.8])
    path = Sphere(3).paths(z, torch.tensor([-0.9, 0, 0]), torch.tensor([0.9, 0, 0]), 5)["latent 0"]
    assert torch.allclose(path[[0, -1], 0], torch.tensor([-0.9, 0.9]))
    assert torch.allclose(path[:, 1], torch.zeros(5))  # the meridian through z
    share = Simplex(3).paths(torch.tensor([0.5, 0.1, 0.4]), torch.zeros(3), torch.ones(3) * 0.9, 4)["share 0"]
    assert torch.allclose(share[:, 0], torch.tensor([0.0, 0.3, 0.6, 0.9]), atol=1e-6)
    assert torch.allclose(share[:, 2], 4 * share[:, 1])


def test_elsewhere_the_way_is_straight():
    line = Identity().between(torch.zeros(1, 2), torch.tensor([[2.0, 4.0]]), T)
    assert torch.allclose(line, T * torch.tensor([2.0, 4.0]))
    assert Identity().paths(torch.zeros(2), torch.zeros(2), torch.ones(2), 3) == {}


def test_the_audit_draws_turns_of_a_torus_and_one_latent_of_a_sphere():
    data = open_data("shifts", n=64)
    for model, labels in (
        (diffusion_vae(data.spec, manifold="torus"), ["angle 0", "angle 1"]),
        (s_vae(data.spec, latent=3), ["latent 0", "latent 1", "latent 2"]),
    ):
        drawn = {figure.name: figure for figure in audit(model.eval(), data.test, limit=40).figures}[
            "traversals"
        ]
        assert sorted(name for name, _ in drawn.rows) == labels
        assert "on the manifold" in drawn.says
        for name, shown in drawn.rows:
            ends = float((shown[0] - shown[-1]).abs().max())
            assert (ends < 1e-4) == name.startswith("angle")


def test_a_run_on_a_sphere_decodes_the_geodesic(tmp_path):
    run = fit("shifts", "s-vae", latent=3, steps=2, out=tmp_path / "run", data_options={"n": 64})
    batch = run.data.test.batch(torch.tensor([0, 1]), ())
    with torch.no_grad():
        a, b = run.model.encode(batch).z.double().split(1)
        angle = (a @ b.T).acos()
        middle = (angle / 2).cos() * a + (angle / 2).sin() * (b - (a @ b.T) * a) / angle.sin()
        expected = run.model.likelihood.mean(run.model.decode(middle.float(), {}))
    found = torch.from_numpy(run.interpolate(None, 0, 1, steps=3)[1])
    assert torch.allclose(found, 255 * expected[0], atol=1e-3)  # in the units of the data
