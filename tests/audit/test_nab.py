"""The score of the Numenta anomaly benchmark, and detections by event."""

import math
import random

import numpy as np
import pytest

from narrows.audit.metrics.events import event_scores, runs, step_scores
from narrows.audit.metrics.nab import PROFILES, nab, point_values, probation
from narrows.core.check import RequestError

PUBLISHED = {  # of the random detector: the threshold, and the score of the benchmark's final results
    "standard": (0.9984497070312507, 16.831768350517237),
    "low-fp": (0.9995117187500009, 5.763682319827586),
    "low-fn": (0.9984497070312507, 25.876351314080456),
}


def by_hand(scores, windows, profile, threshold):
    """The score by loops over windows and steps."""
    tp, fp, fn = PROFILES[profile]
    total, count = 0.0, 0
    for s, w in zip(scores, windows, strict=True):
        first = min(math.floor(0.15 * len(s)), 750)
        found = runs(w)
        for start, end in found:
            steps = [t for t in range(start, end) if t >= first]
            if not steps:
                continue
            count += 1
            hits = [t for t in steps if s[t] >= threshold]
            if hits:
                y = -(end - min(hits)) / (end - start)
                total += tp * (2 / (1 + math.exp(5 * y)) - 1) / (2 / (1 + math.exp(-5)) - 1)
            else:
                total -= fn
        for t in range(first, len(s)):
            if w[t] or s[t] < threshold:
                continue
            before = [(a, b) for a, b in found if b <= t]
            y = 3.0
            if before:
                start, end = before[-1]
                y = (t - end + 1) / (end - start - 1)
            total += fp * (-1 if y >= 3 else 2 / (1 + math.exp(5 * y)) - 1)
    return 100 * (total + fn * count) / ((tp + fn) * count)


@pytest.fixture
def corpus():
    rng = np.random.default_rng(0)
    scores = [rng.integers(0, 12, n) / 12 for n in (300, 120)]  # with many ties
    windows = [np.zeros(300, bool), np.zeros(120, bool)]
    windows[0][30:50] = windows[0][100:120] = windows[0][130:150] = windows[1][60:75] = True
    return scores, windows


@pytest.mark.parametrize("profile", PROFILES)
def test_the_score_equals_a_loop_over_windows_and_steps(corpus, profile):
    for threshold in (0.0, 0.5, 11 / 12, 1.0):
        assert nab(*corpus, profile, threshold).score == pytest.approx(by_hand(*corpus, profile, threshold))


@pytest.mark.parametrize("profile", PROFILES)
def test_without_a_threshold_it_is_the_best_one(corpus, profile):
    best = max(by_hand(*corpus, profile, t) for t in [*np.arange(13) / 12, 2.0])
    found = nab(*corpus, profile)
    assert found.score == pytest.approx(best)
    assert nab(*corpus, profile, found.threshold) == found


@pytest.mark.parametrize("profile", PROFILES)
def test_no_detections_have_0_and_first_steps_of_windows_100(corpus, profile):
    scores, windows = corpus
    assert nab(scores, windows, profile, threshold=2.0).score == 0
    first = [np.zeros(len(w)) for w in windows]
    for s, w in zip(first, windows, strict=True):
        for start, end in runs(w):
            s[max(start, probation(len(w)))] = 1
            assert end > probation(len(w))
    windows[0][30:50] = False  # it begins in the probation
    first[0][45] = 0
    assert nab(first, windows, profile).score == pytest.approx(100)
    assert nab(first, windows, profile).false_alarms == 0


def test_values_in_a_window_fall_from_the_published_ones_and_are_minus_one_far_from_it():
    labels = np.arange(1000) // 100 == 4
    values = point_values(labels) * (2 / (1 + math.exp(-5)) - 1)
    assert values[400] == pytest.approx(0.98661, abs=1e-5)
    assert values[450] == pytest.approx(0.84828, abs=1e-5)
    assert 0 < values[499] < 0.03
    assert np.all(np.diff(values[400:500]) < 0)
    after = point_values(labels)[500:]
    assert after[98] == pytest.approx(-0.98661, abs=1e-5)
    assert np.all(after[300:] == -1)
    assert np.all(point_values(labels)[:400] == -1)


def test_windows_in_the_probation_do_not_count(corpus):
    scores, windows = corpus
    more = np.zeros(200, bool)
    more[:20] = True
    assert (
        nab([*scores, np.zeros(200)], [*windows, more], threshold=0.5).windows
        == nab(*corpus, threshold=0.5).windows
    )


def test_bad_input_is_named(corpus):
    scores, windows = corpus
    with pytest.raises(RequestError, match="profile"):
        nab(scores, windows, "strict")
    with pytest.raises(RequestError, match="one score for each of 120 steps"):
        nab([scores[0], scores[1][:-1]], windows)
    with pytest.raises(RequestError, match="NaN in series 1"):
        nab([scores[0], np.full(120, np.nan)], windows)
    with pytest.raises(RequestError, match="at least one window"):
        nab(scores, [w & False for w in windows])


@pytest.mark.data
@pytest.mark.parametrize("profile", PROFILES)
def test_the_published_row_of_the_random_detector_is_reproduced(real, profile):
    threshold, published = PUBLISHED[profile]
    scores, windows = [], []
    with np.load(real / "timeseries" / "nab.npz") as file:
        for i in range(len(file["names"])):
            windows.append(file[f"a{i}"])
            draws = random.Random(42)  # as published, each series begins with the same draws
            scores.append(np.array([draws.random() for _ in windows[-1]]))
    found = nab(scores, windows, profile, threshold)
    assert found.windows == 116
    assert found.score == pytest.approx(published, abs=1e-8)


def test_events_are_detected_by_any_of_their_steps():
    labels = np.zeros(100, bool)
    labels[10:20] = labels[40:50] = labels[70:80] = True
    flags = np.zeros(100, bool)
    flags[13] = flags[15:25] = flags[44] = flags[60:65] = flags[90] = True
    found = event_scores(flags, labels)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["precision"] == pytest.approx(3 / 5)
    assert found["f1"] == pytest.approx(2 * 0.6 * (2 / 3) / (0.6 + 2 / 3))
    assert found["delay"] == 3.5
    assert math.isnan(event_scores(flags & False, labels)["delay"])
    assert event_scores(flags & False, labels)["f1"] == 0


def test_a_random_score_has_a_small_f1_of_events():
    rng = np.random.default_rng(0)
    labels = np.zeros(5000, bool)
    labels[1000:1100] = labels[3000:3100] = True
    assert event_scores(rng.random(5000) > 0.95, labels)["f1"] < 0.15  # with point adjustment above .6


def test_rates_of_steps():
    flags, labels = np.array([1, 1, 1, 0, 0, 0], bool), np.array([1, 1, 0, 1, 0, 0], bool)
    found = step_scores(flags, labels)
    assert found == pytest.approx({"f1": 2 / 3, "far": 1 / 3, "mar": 1 / 3})
    with pytest.raises(RequestError, match="normal and anomalous ones"):
        step_scores(flags, labels | True)
    with pytest.raises(RequestError, match="a flag for each of 5 steps"):
        step_scores(flags, labels[:5])
