"""p(image | z): what each pixel sees, all images' probabilities, and drawing pixel by pixel."""

from __future__ import annotations

import itertools

import pytest
import torch

from narrows.core import seeded
from narrows.core.check import RequestError
from narrows.likelihoods.masked_pixels import Pixels
from narrows.nets.pixels import PixelNet

SHAPES = [(1, 5, 4), (3, 3, 4)]


def made(shape, levels=2, **options) -> Pixels:
    with seeded(0):
        p = Pixels(shape, levels, features=6, **options).double().eval()
        for parameter in p.parameters():  # with large weights, so that all that is seen has an effect
            torch.nn.init.normal_(parameter, std=0.7)
        return p


def place(index: int, shape) -> tuple[int, int, int]:
    """Channel, row and column of an element."""
    channel, rest = divmod(index, shape[1] * shape[2])
    return channel, *divmod(rest, shape[2])


@pytest.mark.parametrize("depth", [0, 3])
@pytest.mark.parametrize("window", [0, 1, 3, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_pixel_sees_the_earlier_ones_in_its_window_and_no_others(shape, window, depth):
    """By autograd, over all pairs of elements, whatever the depth."""
    with seeded(1):
        net = PixelNet(shape, 1, window, features=6, depth=depth).double()
        x, z = torch.randn(1, *shape).double(), torch.randn(1, 6, *shape[1:]).double()
    jacobian = torch.autograd.functional.jacobian(lambda x: net(x, z), x).reshape(x.numel(), x.numel())
    for i in range(x.numel()):
        for j in range(x.numel()):
            (ci, ri, wi), (cj, rj, wj) = place(i, shape), place(j, shape)
            earlier = (rj, wj, cj) < (ri, wi, ci)
            near = window == 0 or max(abs(ri - rj), abs(wi - wj)) <= window // 2
            assert bool(jacobian[i, j] != 0) == (earlier and near), (i, j)


@pytest.mark.parametrize(("shape", "levels"), [((1, 3, 3), 2), ((2, 2, 2), 2), ((1, 2, 2), 4)])
def test_the_probabilities_of_all_images_sum_to_one(shape, levels):
    p = made(shape, levels, window=3)
    z = torch.randn(6, *shape[1:]).double()
    size = shape[0] * shape[1] * shape[2]
    x = torch.tensor(list(itertools.product(range(levels), repeat=size))).double() / (levels - 1)
    with torch.no_grad():
        total = (-p.nll(z.expand(len(x), *z.shape), x.reshape(-1, *shape))).exp().sum()
    assert abs(float(total) - 1) < 1e-10


@pytest.mark.parametrize(("shape", "levels"), [((1, 5, 4), 2), ((3, 3, 4), 2), ((2, 3, 3), 5)])
@pytest.mark.parametrize("window", [0, 3])
def test_pixel_by_pixel_is_the_whole_net_at_every_pixel(shape, levels, window):
    """The means, against a loop that runs the whole net for every element."""
    p = made(shape, levels, window=window)
    z, x = torch.randn(2, 3, 6, *shape[1:]).double(), torch.zeros(2, 3, *shape).double()
    with torch.no_grad():
        for r, w, c in itertools.product(range(shape[1]), range(shape[2]), range(shape[0])):
            x[..., c, r, w] = p.image.mean(p.outputs(z, x))[..., c, r, w]
        torch.testing.assert_close(p.mean(z), x)


def test_drawn_images_have_the_probabilities_of_nll():
    p, n = made((1, 2, 2), window=3), 20_000
    z = torch.randn(6, 2, 2).double()
    with seeded(2):
        drawn = p.sample(z.expand(n, *z.shape)).flatten(1)
    for values in itertools.product([0.0, 1.0], repeat=4):
        x = torch.tensor(values).double()
        exact = float((-p.nll(z[None], x.reshape(1, 1, 2, 2))).exp())
        share = float((drawn == x).all(1).double().mean())
        assert abs(share - exact) < 4 * (max(exact, 1e-4) / n) ** 0.5


def test_windows_are_odd_and_data_are_images():
    with pytest.raises(RequestError, match="an odd number"):
        Pixels((1, 4, 4), window=4)
    with pytest.raises(RequestError, match="the shape of an image"):
        Pixels((12,))
