"""Short sounds whose parts are known: the notes of a chord with their harmonics, and a burst of noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from narrows.core.check import number, refuse, whole
from narrows.data.raw import Raw

__all__ = ["CHORDS", "TIMBRES", "TonesTruth", "tones"]

CHORDS: dict[str, tuple[int, ...]] = {
    "note": (0,),
    "octave": (0, 12),
    "fifth": (0, 7),
    "major": (0, 4, 7),
    "minor": (0, 3, 7),
}
"""The notes of a chord, in semitones above its root."""

TIMBRES = (0.0, 0.4, 0.8)
"""By what each harmonic is weaker than the one below it; 0 is a pure sine."""

_NAMES = ("pitch", "chord", "timbre", "burst")
_HARMONICS = 8
_BURST, _DECAY = 0.5, 0.05
"""Amplitude of a burst, and its decay time as a share of the sound."""


@dataclass(frozen=True, eq=False)
class TonesTruth:
    """How factors become sounds.

    Args:
        length: samples of a sound, T.
        rate: samples per second.
        lowest: frequency of the lowest root, in Hz.
        onsets: number of places at which a burst may begin.
    """

    length: int
    rate: float
    lowest: float
    onsets: int

    def frequencies(self, factors: np.ndarray) -> list[np.ndarray]:
        """The fundamental frequencies of the notes of each sound, in Hz.

        Example:
            >>> truth = TonesTruth(8, 4000.0, 110.0, 4)
            >>> [f.round(1).tolist() for f in truth.frequencies(np.array([[0, 1, 0, 0], [12, 0, 0, 0]]))]
            [[110.0, 220.0], [220.0]]
        """
        chords = list(CHORDS.values())
        return [
            self.lowest * 2 ** ((pitch + np.array(chords[chord])) / 12)
            for pitch, chord, *_ in factors.tolist()
        ]

    def onset(self, burst: np.ndarray) -> np.ndarray:
        """The first sample of a burst, by its factor; T for sounds without one (factor 0)."""
        found: np.ndarray = np.where(burst > 0, (burst - 1) * self.length // self.onsets, self.length)
        return found

    def sounds(self, factors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Sounds (N, T, 1) with random phases and bursts.

        Harmonics above half the rate are left out.
        """
        seconds = np.arange(self.length) / self.rate
        x = np.zeros((len(factors), self.length))
        for row, (notes, (_, _, timbre, _)) in enumerate(
            zip(self.frequencies(factors), factors.tolist(), strict=True)
        ):
            order = np.arange(1, _HARMONICS + 1)
            strength = TIMBRES[timbre] ** (order - 1.0)
            at = notes[:, None] * order
            weight = strength * (at < self.rate / 2)
            phase = rng.uniform(0, 2 * np.pi, at.shape)
            waves = np.sin(2 * np.pi * at[..., None] * seconds + phase[..., None])
            x[row] = np.einsum("nh,nht->t", weight, waves) / (len(notes) * strength.sum())
        after = np.arange(self.length) - self.onset(factors[:, 3])[:, None]
        fade = np.where(after >= 0, np.exp(-np.maximum(after, 0) / (_DECAY * self.length)), 0.0)
        x += _BURST * fade * rng.uniform(-1, 1, x.shape)
        sounds: np.ndarray = x[..., None].astype(np.float32)
        return sounds


def tones(
    n: int = 8_000,
    length: int = 512,
    rate: float = 4000.0,
    lowest: float = 110.0,
    pitches: int = 12,
    onsets: int = 4,
    noise: float = 0.01,
    seed: int = 0,
    tests: int = 2_000,
) -> Raw:
    r"""Draw sounds of a chord with harmonics and a burst of noise, with these as known factors.

    .. math:: x_t = \frac{\sum_{m,h} a^{h-1} \sin(2 \pi h f_m t / r + \phi_{mh})}{M \sum_h a^{h-1}}
              + \tfrac12 e^{-(t - t_0) / \tau} u_t\, [t \ge t_0] + s\, \epsilon_t

    Factors: ``pitch`` of the root in semitones, ``chord``, ``timbre`` (a), and ``burst``, 0 for none, else one of
    `onsets` times t_0.

    Args:
        n: training examples.
        length: samples of a sound, T.
        rate: r, samples per second.
        lowest: frequency of the lowest root, in Hz.
        pitches: number of roots, a semitone apart.
        onsets: number of times at which a burst may begin.
        noise: s, standard deviation of the noise.
        seed: seed of the draws.
        tests: test examples.

    Raises:
        RequestError: the highest note is above half the rate.

    Example:
        >>> import narrows.data
        >>> source = narrows.data.open("tones", n=10, tests=5)
        >>> source.spec.shape, source.train.factor_names
        ((512, 1), ('pitch', 'chord', 'timbre', 'burst'))
    """
    truth = TonesTruth(
        whole("length", length), number("rate", rate), number("lowest", lowest), whole("onsets", onsets)
    )
    highest = lowest * 2 ** ((whole("pitches", pitches) + 11) / 12)
    if not 0 < highest < rate / 2:
        raise refuse(
            "rate", rate, f"more than {2 * highest:.0f}, twice the highest note", "Or fewer pitches."
        )
    rng, total = np.random.default_rng((seed, 29)), whole("n", n) + whole("tests", tests)
    counts = (pitches, len(CHORDS), len(TIMBRES), onsets + 1)
    factors = np.stack([rng.integers(0, count, total) for count in counts], 1)
    x = truth.sounds(factors, rng)
    x += np.float32(number("noise", noise, low=0)) * rng.standard_normal(x.shape, dtype=np.float32)
    test = Raw(x[n:], factors=factors[n:], layout="sequence")
    return Raw(
        x[:n],
        factors=factors[:n],
        factor_names=_NAMES,
        test=test,
        layout="sequence",
        scale="none",
        truth=truth,
    )
