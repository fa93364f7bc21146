"""Synthetic data: sequences of sinusoids with random frequency and phase (Yoon, Jarrett, van der Schaar 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from narrows.core.check import number, whole
from narrows.data.raw import Raw

__all__ = ["SinesTruth", "sines"]


@dataclass(frozen=True, eq=False)
class SinesTruth:
    """Frequencies (in radians a step) and phases behind the training part, each (N, waves, D)."""

    frequency: np.ndarray
    phase: np.ndarray


def sines(
    n: int = 8_000,
    length: int = 24,
    d: int = 5,
    waves: int = 1,
    noise: float = 0.0,
    seed: int = 0,
    tests: int = 2_000,
) -> Raw:
    """Draw x[t, j] = 1/2 + 1/2 mean_w sin(frequency_wj t + phase_wj) + noise e, each from 0 to 1 without noise.

    Args:
        n: training examples.
        length: steps of a sequence, T.
        d: columns of a sequence, D, independent of each other.
        waves: the number of sinusoids averaged in a column; 1 in TimeGAN's set.
        noise: standard deviation of the noise.
        seed: seed of the draws.
        tests: test examples.

    Reference:
        Time-series Generative Adversarial Networks, NeurIPS 2019: frequencies and phases uniform from 0 to 0.1.

    Example:
        >>> import narrows.data
        >>> narrows.data.open("sines", n=10).spec
        Spec(shape=(24, 5), values='unit')
    """
    rng = np.random.default_rng((seed, 3))
    total = whole("n", n) + whole("tests", tests)
    size = (total, whole("waves", waves), whole("d", d))
    frequency, phase = rng.uniform(0, 0.1, size), rng.uniform(0, 0.1, size)
    x = np.zeros((total, whole("length", length), d), np.float32)
    t = np.arange(length)[None, :, None]
    for w in range(waves):
        x += np.sin(frequency[:, w, None] * t + phase[:, w, None]).astype(np.float32) / waves
    x = np.float32(0.5) * (x + 1)
    x += np.float32(number("noise", noise, low=0)) * rng.standard_normal(x.shape, dtype=np.float32)
    truth = SinesTruth(frequency[:n], phase[:n])
    return Raw(x[:n], test=Raw(x[n:]), layout="sequence", truth=truth)
