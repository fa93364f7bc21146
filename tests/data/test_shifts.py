"""The world of two cyclic shifts."""

import numpy as np
import pytest
import torch

import narrows.data as nd
from narrows.core.check import RequestError


def test_images_are_one_pattern_under_cyclic_shifts():
    source = nd.open("shifts", n=40, tests=10, positions=16)  # one pixel each
    truth = source.truth
    pattern = truth.render(np.zeros((1, 2)))[0, 0]
    assert 0 <= pattern.min() < 0.1 or 0.9 < pattern.max() <= 1
    for x, (down, across) in zip(source.train.all().x, source.train.factors, strict=True):
        wanted = np.roll(pattern, (int(down), int(across)), (0, 1))
        np.testing.assert_allclose(x[0], wanted, atol=0.5 / 255 + 1e-6)


def test_the_truth_renders_the_data_and_loops_close():
    source = nd.open("shifts", n=20, tests=5, positions=50)
    again = source.truth.render(source.truth.angles(source.test.factors))
    np.testing.assert_allclose(source.test.all().x, again, atol=0.5 / 255 + 1e-6)
    loop = source.truth.loop(1, 32, other=0.7)
    jumps = np.abs(np.diff(loop, axis=0, append=loop[:1])).max((1, 2, 3))
    assert jumps.max() < 0.25
    assert np.abs(loop[16] - loop[0]).max() > 0.1
    np.testing.assert_allclose(loop[8, 0], np.roll(loop[0, 0], 4, 1), atol=1e-6)


def test_no_two_shifts_look_alike():
    truth = nd.open("shifts", n=1, tests=1).truth
    angles = 2 * np.pi * np.stack(np.meshgrid(np.arange(12), np.arange(12)), -1).reshape(-1, 2) / 12
    x = truth.render(angles).reshape(144, -1)
    apart = np.square(x[:, None] - x[None]).sum(-1) + 1e9 * np.eye(144)
    assert apart.min() > 0.3


def test_seeds_and_refusals():
    one, same, other = (nd.open("shifts", n=9, tests=2, seed=s) for s in (0, 0, 1))
    assert torch.equal(one.train.x, same.train.x)
    assert not torch.equal(one.train.x, other.train.x)
    pattern = nd.open("shifts", n=9, tests=2, pattern=1)
    assert torch.equal(one.train.factors, pattern.train.factors)
    assert not torch.equal(one.train.x, pattern.train.x)
    with pytest.raises(RequestError, match="`size` must be a whole number of at least 5"):
        nd.open("shifts", size=4)
