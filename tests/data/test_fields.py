import numpy as np
import pytest
import torch

from narrows.core.check import RequestError
from narrows.data.domain import Domain
from narrows.data.readers.fields import of_images, read_fields


def test_a_domain_comes_back_from_its_description():
    domain = Domain((0.0, -1.0), (2.0, 3.5), (4, 5), cells=True)
    assert Domain.of(domain.describe()) == domain
    with pytest.raises(RequestError, match="lower bounds"):
        Domain.of({**domain.describe(), "low": [2.0, -1.0]})
    with pytest.raises(RequestError, match="domain"):
        Domain.of({"low": [0.0]})


def test_the_middles_of_the_cells_of_a_finer_grid_average_to_those_of_the_coarse_one():
    domain = Domain((0.0, 0.0), (1.0, 1.0), (3, 4), cells=True)
    fine = domain.points(domain.sides(4)).reshape(3, 4, 4, 4, 2)
    assert domain.sides(4) == (12, 16)
    assert torch.allclose(fine.mean((1, 3)).reshape(-1, 2), domain.points(), atol=1e-6)


def test_units_of_the_data_and_back():
    domain = Domain((10.0, -1.0), (30.0, 1.0))
    positions = torch.tensor([[15.0, 0.0], [30.0, -1.0]])
    assert torch.allclose(domain.inwards(positions), torch.tensor([[0.25, 0.5], [1.0, 0.0]]))
    assert torch.allclose(domain.outwards(domain.inwards(positions)), positions)


@pytest.mark.parametrize("channels", [(), (2,)])
def test_values_on_a_plane_grid(channels):
    x, y = np.linspace(0, 3, 4), np.array([-1.0, 0.0, 5.0])
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), -1)
    u = np.random.default_rng(0).standard_normal((6, 4, 3, *channels))
    fields = read_fields({"u": u, "grid": grid}, "plane")
    assert fields.values.shape == (6, 12, *(channels or (1,)))
    assert fields.domain == Domain((0.0, -1.0), (3.0, 5.0), (4, 3))
    assert np.allclose(fields.positions, grid.reshape(-1, 2))
    f = (1 + 2 * grid[..., 0]) * (3 - grid[..., 1])  # bilinear: the trapezium rule is exact
    assert np.isclose((fields.quadrature * f.reshape(-1)).sum(), (1 + 2 * 1.5) * (3 - 2.0), rtol=1e-5)


def test_points_of_each_example_and_points_that_differ_in_number():
    points, u = np.random.default_rng(0).uniform(-2, 2, (5, 7, 3)), np.zeros((5, 7))
    fields = read_fields({"u": u, "points": points}, "cloud")
    assert fields.values.shape == (5, 7, 1)
    assert fields.positions.shape == (5, 7, 3)
    assert np.allclose(fields.domain.low, points.min((0, 1)))
    assert np.allclose(fields.domain.high, points.max((0, 1)))
    ragged = {"u": u.reshape(-1), "points": points.reshape(-1, 3), "ends": np.array([3, 10, 35])}
    assert read_fields(ragged, "cloud").values.shape == (35, 1)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"u": np.zeros((5, 9))}, "`grid` or `points` is missing"),
        ({"grid": np.zeros(9), "x": np.zeros((5, 9))}, "`u` is missing"),
        ({"u": np.zeros((5, 9)), "grid": np.arange(8.0)}, r"\(8, 1\) with `u` \(5, 9\)"),
        ({"u": np.zeros((5, 9)), "grid": np.full(9, np.nan)}, "finite positions"),
        ({"u": np.zeros((5, 9)), "grid": np.zeros(9)}, "points that differ"),
        ({"u": np.zeros((5, 9)), "points": np.zeros((4, 9, 2))}, r"\(N, P, k\) with"),
        ({"u": np.zeros(9), "points": np.arange(9.0), "ends": np.array([5, 8])}, "up to 9"),
    ],
)
def test_arrays_that_are_no_fields_are_refused_by_a_sentence(arrays, says):
    with pytest.raises(RequestError, match=says):
        read_fields(arrays, "heat")


def test_positions_of_other_coordinates_are_refused():
    with pytest.raises(RequestError, match="2 coordinates"):
        Domain((0.0,), (2.0,), (9,)).inwards(torch.zeros(5, 2))


@pytest.mark.parametrize(
    ("layout", "shape", "pixel"),
    [
        ("image", (5, 4, 6), np.s_[2, 1, 3:4]),
        ("hwc", (5, 4, 6, 3), np.s_[2, 1, 3]),
        ("chw", (5, 3, 4, 6), np.s_[2, :, 1, 3]),
    ],
)
def test_images_are_fields_of_pixels(layout, shape, pixel):
    images = np.arange(np.prod(shape)).reshape(shape)
    fields = of_images(images, layout)
    assert np.array_equal(fields.values[2, 1 * 6 + 3], images[pixel])
    assert np.allclose(fields.positions[1 * 6 + 3], [1.5 / 4, 3.5 / 6])
