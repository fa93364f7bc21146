"""Data made small: shapes, thresholds, and the likelihood of independent elements."""

import math

import numpy as np
import torch

import narrows.data
from narrows.core import Spec
from narrows.proofs.reduced import independent_nll, reduced


def test_images_are_averaged_and_binarised() -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 16, 20), dtype=np.uint8)
    source = narrows.data.open(images)
    data = reduced(source, rows=8, tests=3)
    assert data.spec == Spec((1, 8, 10), "binary")
    assert (len(data.train), len(data.test)) == (8, 3)
    found = data.test.all().x
    means = source.test.all().x.unflatten(-1, (10, 2)).unflatten(-3, (8, 2)).mean((-1, -3))
    expected = (means > 0.5).float()
    assert all(any(torch.equal(image, other) for other in expected) for image in found)


def test_real_vectors_stay_as_they_are() -> None:
    source = narrows.data.open(np.random.default_rng(0).normal(size=(50, 4)))
    data = reduced(source, rows=1000)
    assert data.spec == source.spec
    torch.testing.assert_close(data.train.all().x, source.train.all().x)


def test_independent_elements() -> None:
    x = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    by_hand = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) + math.log(2)
    assert math.isclose(independent_nll(x, x, Spec((2,), "binary")), by_hand, rel_tol=1e-5)
    z = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0)) * 2 + 1
    entropy = 3 * 0.5 * math.log(2 * math.pi * math.e * 4)
    assert math.isclose(independent_nll(z, z, Spec((3,), "real")), entropy, rel_tol=0.01)
