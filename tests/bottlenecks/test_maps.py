"""Maps of circles, spheres, tori, lines and shares."""

import math

import pytest
import torch

from narrows.bottlenecks.manifold import maps
from narrows.bottlenecks.manifold.diffusion import Diffusion
from narrows.bottlenecks.manifold.poincare import Poincare
from narrows.bottlenecks.manifold.simplex import Simplex
from narrows.bottlenecks.manifold.sphere import Sphere


def area(outline: torch.Tensor) -> float:
    x, y = outline.double().T
    return float((x * y.roll(-1) - y * x.roll(-1)).sum().abs()) / 2


@pytest.mark.parametrize(("bottleneck", "whole"), [(Sphere(3), 4 * math.pi), (Diffusion("rp2"), 2 * math.pi)])
def test_maps_preserve_areas(bottleneck, whole):
    """The outline has the manifold's area, and equal parts of the map hold equally many uniform draws."""
    torch.manual_seed(0)
    found = bottleneck.surface(bottleneck.sample(40_000).z)
    assert area(found.outline) == pytest.approx(whole, rel=1e-3)
    wide, high = found.outline.amax(0)
    inside = (found.points / torch.stack([wide, high])).square().sum(1)
    assert inside.max() < 1 + 1e-5
    for share in (0.25, 0.5, 0.75):  # ellipses around the centre
        assert float((inside < share).float().mean()) == pytest.approx(share, abs=0.01)
    assert float((found.points[:, 0] < 0.4 * wide).float().mean()) == pytest.approx(_left_of(0.4), abs=0.01)


def _left_of(x: float) -> float:
    """The share of the unit disc to the left of a line."""
    return 0.5 + (math.asin(x) + x * math.sqrt(1 - x * x)) / math.pi


def test_lines_have_one_point_whatever_their_sign():
    u = torch.nn.functional.normalize(torch.randn(50, 3), dim=1)
    z = (u[:, :, None] * u[:, None]).flatten(1)
    up = u * u[:, 2:].sign()
    torch.testing.assert_close(
        maps.lines(z).points, up[:, :2] * (2 / (1 + up[:, 2:])).sqrt(), atol=1e-4, rtol=1e-4
    )


def test_the_torus_is_drawn_by_its_angles():
    angles = torch.tensor([[30.0, -120.0], [170.0, 0.0]])
    radians = torch.deg2rad(angles)
    z = torch.stack([radians.cos(), radians.sin()], -1).flatten(1)
    torch.testing.assert_close(maps.torus(z).points, angles)


def test_only_curves_and_surfaces_are_drawn():
    drawn = [
        Sphere(2),
        Sphere(3),
        Poincare(2),
        Simplex(3),
        *(Diffusion(m) for m in ("circle", "sphere", "torus", "rp2")),
    ]
    for bottleneck in drawn:
        found = bottleneck.surface(bottleneck.sample(20).z)
        assert found.points.shape == (20, 2)
        low, high = found.outline.amin(0) - 1e-4, found.outline.amax(0) + 1e-4
        assert ((found.points >= low) & (found.points <= high)).all()
    for bottleneck in (Sphere(4), Poincare(3), Simplex(4), Diffusion("so3")):
        assert bottleneck.surface(bottleneck.sample(20).z) is None
