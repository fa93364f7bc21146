"""Sounds against their spectra: the notes are where they should be, harmonics as strong, bursts at their times."""

import numpy as np
import pytest

from narrows import data as nd
from narrows.core.check import RequestError
from narrows.data.synthetic.tones import CHORDS, TIMBRES, TonesTruth

TRUTH = TonesTruth(length=4000, rate=4000.0, lowest=110.0, onsets=4)  # bins of one Hz


def spectrum(*factors):
    x = TRUTH.sounds(np.array([factors]), np.random.default_rng(0))
    return 2 * np.abs(np.fft.rfft(x[0, :, 0] * np.hanning(4000))) / 2000


def test_peaks_are_at_the_notes_of_the_chord():
    for chord, steps in enumerate(CHORDS.values()):
        found = spectrum(5, chord, 0, 0)
        peaks = [round(110 * 2 ** ((5 + s) / 12)) for s in steps]
        for peak in peaks:
            assert found[peak - 2 : peak + 3].max() > 0.7 / len(steps)
        elsewhere = np.ones(len(found), bool)
        for peak in peaks:
            elsewhere[peak - 6 : peak + 7] = False
        assert found[elsewhere].max() < 0.02


@pytest.mark.parametrize("timbre", [1, 2])
def test_each_harmonic_is_weaker_by_the_timbre(timbre):
    found = spectrum(0, 0, timbre, 0)  # 110 Hz
    strength = np.array([found[110 * h - 2 : 110 * h + 3].max() for h in range(1, 5)])
    np.testing.assert_allclose(strength[1:] / strength[:-1], TIMBRES[timbre], rtol=0.05)


def test_no_harmonic_is_above_half_the_rate():
    low = TonesTruth(length=4000, rate=500.0, lowest=110.0, onsets=4)
    x = low.sounds(np.array([[0, 0, 2, 0]]), np.random.default_rng(0))[0, :, 0]
    found = np.abs(np.fft.rfft(x * np.hanning(4000)))
    peaks = np.flatnonzero(found > 0.1 * found.max()) * 500 / 4000
    assert {round(peak / 110) for peak in peaks} == {1, 2}  # 330 Hz would fold to 170


def test_a_burst_begins_at_its_time_and_fades():
    factors = np.array([[0, 0, 0, burst] for burst in range(5)])
    with_burst = TRUTH.sounds(factors, np.random.default_rng(1))[:, :, 0]
    rng = np.random.default_rng(1)
    without = TRUTH.sounds(np.array([[0, 0, 0, 0]] * 5), rng)[:, :, 0]
    rest = np.abs(with_burst - without)
    assert rest[0].max() == 0
    for burst in range(1, 5):
        start = (burst - 1) * 1000
        assert rest[burst, :start].max(initial=0) == 0
        assert rest[burst, start : start + 100].max() > 0.3
        assert rest[burst, start + 800 : start + 1000].max() < 0.05


def test_the_source_has_factors_and_seeds():
    source = nd.open("tones", n=300, tests=50)
    x = source.train.all().x.numpy()
    assert x.shape == (300, 512, 1)
    assert np.abs(x).max() < 1.7
    assert np.array_equal(x, nd.open("tones", n=300, tests=50).train.all().x.numpy())
    assert not np.array_equal(x, nd.open("tones", n=300, tests=50, seed=1).train.all().x.numpy())
    factors = source.train.known.factors.numpy()
    assert factors.max(0).tolist() == [11, 4, 2, 4]
    with pytest.raises(RequestError, match="highest note"):
        nd.open("tones", n=10, rate=500.0)
