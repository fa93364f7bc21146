"""Colour textures: random fields with a known power spectrum and known colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from narrows.core.check import number, whole
from narrows.data.raw import Raw

__all__ = ["FACTORS", "TexturesTruth", "radial", "textures"]

FACTORS = ("exponent", "palette")
_DEVIATION = 1 / 8
"""Standard deviation of every channel around 1/2: values beyond 0 and 1, which are cut, lie four of them away."""
_ROUNDING = 1 / 12 / 255**2
"""The variance that rounding to bytes adds to a pixel."""
_STRENGTHS = (1.0, 0.5, 0.25)
"""Standard deviations of the three fields that a palette mixes."""
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class TexturesTruth:
    r"""The process: three independent fields with the same spectrum, mixed to colours.

    Args:
        size: pixels a side.
        exponents: the exponents of the spectrum, one per value of the factor ``exponent``, (E,).
        mixing: the matrix of each palette, (P, 3, 3): its rows are channels, with norm 1.
    """

    size: int
    exponents: np.ndarray
    mixing: np.ndarray

    def spectrum(self, exponent: int = 0) -> np.ndarray:
        r"""The expected power of each frequency of a channel, E|F u|^2 / size^4, (size, size).

        .. math:: S(k) = \sigma^2 \frac{(1 + |k|^2)^{-a/2}}{\sum_j (1 + |j|^2)^{-a/2}} + \frac{1}{12 \cdot 255^2 \,
                  \mathrm{size}^2}

        k is a pair of whole numbers of periods per image, in the order of `numpy.fft.fft2`; the last term is that of
        rounding to bytes. The sum over all k is the variance of a pixel.

        Args:
            exponent: which of `exponents`.
        """
        shares = _shares(self.size, float(self.exponents[exponent]))
        return np.asarray(_DEVIATION**2 * shares + _ROUNDING / self.size**2)

    def covariance(self, palette: int = 0) -> np.ndarray:
        """The covariance of the three channels of a pixel, (3, 3)."""
        mixing = self.mixing[palette]
        return np.asarray(_DEVIATION**2 * mixing @ mixing.T + _ROUNDING * np.eye(3))

    def draw(self, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """n images (n, 3, size, size) bytes, and their factors (n, 2), uniform and independent."""
        rng = np.random.default_rng((seed, 11))
        counts = (len(self.exponents), len(self.mixing))
        factors = np.stack([rng.integers(0, count, n) for count in counts], 1)
        shares = np.stack([_shares(self.size, float(a)) for a in self.exponents])
        amplitude = (self.size * np.sqrt(shares))[:, :, : self.size // 2 + 1].astype(np.float32)
        x = np.empty((n, 3, self.size, self.size), np.uint8)
        for start in range(0, n, _CHUNK):
            which = factors[start : start + _CHUNK]
            white = rng.standard_normal((len(which), 3, self.size, self.size), np.float32)
            fields = np.fft.irfft2(
                np.fft.rfft2(white) * amplitude[which[:, 0], None], s=(self.size, self.size)
            )
            colours = np.einsum("bij,bjhw->bihw", self.mixing[which[:, 1]], fields)
            x[start : start + _CHUNK] = np.clip(255 * (0.5 + _DEVIATION * colours) + 0.5, 0, 255)
        return x, factors


def textures(
    n: int = 4_000,
    size: int = 64,
    exponent: float = 3.0,
    exponents: int = 1,
    palettes: int = 6,
    seed: int = 0,
    tests: int = 1_000,
) -> Raw:
    r"""Draw colour textures with a known power spectrum.

    .. math:: x = \tfrac12 + \tfrac18 M_p\, u,\qquad
              u_c(y) = \sum_k \sqrt{s_k}\, \xi_{ck}\, e^{2 \pi i k \cdot y},\qquad
              s_k \propto (1 + |k|^2)^{-a/2},\ \sum_k s_k = 1

    u are three Gaussian fields on the torus, xi Gaussian with mean 0 and E|xi|^2 = 1, M_p the matrix of a palette. Each
    channel has mean 1/2 and standard deviation 1/8; its spectrum falls as the a-th power of the frequency. Natural
    images have exponents of about 2; with 3 textures look like clouds, with 0 they are white noise.

    Args:
        n: training examples.
        size: pixels a side.
        exponent: a, or the mean of several.
        exponents: the number of exponents, evenly from a - 1/2 to a + 1/2.
        palettes: the number of palettes.
        seed: seed of the draws; palettes are the same for all seeds.
        tests: test examples.

    Example:
        >>> import narrows.data
        >>> source = narrows.data.open("textures", n=8, size=32, tests=2)
        >>> source.spec.shape, source.train.factor_names, source.truth.spectrum().shape
        ((3, 32, 32), ('exponent', 'palette'), (32, 32))
    """
    middle, several = number("exponent", exponent, low=0), whole("exponents", exponents)
    slopes = middle + (np.linspace(-0.5, 0.5, several) if several > 1 else np.zeros(1))
    truth = TexturesTruth(whole("size", size, low=2), slopes.clip(0), _palettes(whole("palettes", palettes)))
    x, factors = truth.draw(whole("n", n) + whole("tests", tests), seed)
    test = Raw(x[n:], factors=factors[n:], layout="chw")
    return Raw(x[:n], factors=factors[:n], factor_names=FACTORS, test=test, layout="chw", truth=truth)


def radial(power: np.ndarray) -> np.ndarray:
    """The mean of power (..., size, size) over all frequencies with the same rounded |k|, (..., size // 2 + 1).

    Example:
        >>> radial(np.ones((8, 8))).tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    size = power.shape[-1]
    ring = np.sqrt(_squared(size)).round().astype(int)
    rings = [power[..., ring == r].mean(-1) for r in range(size // 2 + 1)]
    return np.stack(rings, -1)


def _squared(size: int) -> np.ndarray:
    """|k|^2 of every frequency, (size, size)."""
    k = np.fft.fftfreq(size, 1 / size)
    return np.asarray(k[:, None] ** 2 + k[None, :] ** 2)


def _shares(size: int, exponent: float) -> np.ndarray:
    """s_k of every frequency, (size, size)."""
    power = (1 + _squared(size)) ** (-exponent / 2)
    return np.asarray(power / power.sum())


def _palettes(count: int) -> np.ndarray:
    """Matrices with rows of norm 1, (count, 3, 3): random directions of colour with unequal strengths."""
    rng = np.random.default_rng(12)
    turned = np.linalg.qr(rng.standard_normal((count, 3, 3)))[0] * np.array(_STRENGTHS)
    return np.asarray(turned / np.linalg.norm(turned, axis=-1, keepdims=True))
