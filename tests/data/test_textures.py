"""Textures: power and colours as measured from pixels, against the formula written out."""

import numpy as np
import pytest

import narrows.data as nd
from narrows.core.check import RequestError
from narrows.data.synthetic.textures import radial


@pytest.mark.parametrize(("size", "exponent"), [(64, 3.0), (32, 1.5)])
def test_the_radial_spectrum_is_that_of_the_formula(size, exponent):
    source = nd.open("textures", n=200, tests=1, size=size, exponent=exponent)
    x = source.train.all(200).x.numpy().astype(float) - 0.5
    measured = radial(np.abs(np.fft.fft2(x)) ** 2 / size**4).mean((0, 1))
    # Frequency by frequency, from the formula: sums over rings of equal rounded |k|
    line = [k if k <= size // 2 else k - size for k in range(size)]
    rings: dict[int, list[float]] = {}
    for k in line:
        for j in line:
            rings.setdefault(round((k * k + j * j) ** 0.5), []).append((1 + k * k + j * j) ** (-exponent / 2))
    total = sum(map(sum, rings.values()))
    wanted = (
        np.array([np.mean(rings[r]) for r in range(size // 2 + 1)]) / 64 / total + 1 / 12 / 255**2 / size**2
    )
    np.testing.assert_allclose(measured[1:], wanted[1:], rtol=0.12)  # few frequencies in the first rings
    np.testing.assert_allclose(measured[6:], wanted[6:], rtol=0.05)
    np.testing.assert_allclose(radial(source.truth.spectrum()), wanted, rtol=1e-9)
    assert abs(source.truth.spectrum().sum() * 64 - 1) < 1e-3


def test_colours_of_a_pixel_have_the_covariance_of_their_palette():
    source = nd.open("textures", n=1500, tests=1, size=16, exponent=0, palettes=3)
    x, palette = source.train.all(1500).x.numpy(), source.train.factors[:, 1].numpy()
    for p in range(3):
        found = np.cov(x[palette == p].transpose(1, 0, 2, 3).reshape(3, -1))
        np.testing.assert_allclose(found, source.truth.covariance(p), atol=3e-4)
        np.testing.assert_allclose(np.diag(found), 1 / 64, atol=3e-4)


def test_factors_say_exponent_and_palette():
    source = nd.open("textures", n=300, tests=10, size=16, exponent=2, exponents=3, palettes=2)
    factors = source.train.factors.numpy()
    assert (factors.max(0) == (2, 1)).all()
    np.testing.assert_allclose(source.truth.exponents, [1.5, 2, 2.5])
    x = source.train.all(300).x.numpy()
    rough = np.square(np.diff(x, axis=-1)).mean((1, 2, 3))
    means = [rough[factors[:, 0] == e].mean() for e in range(3)]
    assert means[0] > means[1] > means[2]


def test_bad_sizes_are_refused():
    with pytest.raises(RequestError, match="size"):
        nd.open("textures", size=1)
    with pytest.raises(RequestError, match="exponent"):
        nd.open("textures", exponent=-1)
