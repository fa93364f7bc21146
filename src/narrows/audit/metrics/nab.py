"""The score of the Numenta anomaly benchmark: early detections of labelled windows, less false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from narrows.audit.metrics.events import runs
from narrows.core.check import choice, refuse

__all__ = ["PROFILES", "NabScore", "nab", "point_values", "probation"]

PROFILES = {"standard": (1.0, 0.11, 1.0), "low-fp": (1.0, 0.22, 1.0), "low-fn": (1.0, 0.11, 2.0)}
"""The weights of true positives, false positives and false negatives of each profile."""

_FAR = 3.0
"""Widths of a window after its end, from which on a false alarm has the value -1."""


@dataclass(frozen=True)
class NabScore:
    """A score of a corpus.

    Args:
        score: 100 if each window is detected at its first step and nothing else is; 0 without detections.
        threshold: from which on a step is a detection.
        detected: number of windows with a detection.
        windows: number of windows.
        false_alarms: number of detections outside of windows.
    """

    score: float
    threshold: float
    detected: int
    windows: int
    false_alarms: int


def nab(
    scores: Sequence[np.ndarray],
    windows: Sequence[np.ndarray],
    profile: str = "standard",
    threshold: float | None = None,
) -> NabScore:
    r"""The score of the Numenta anomaly benchmark over a corpus of series.

    .. math:: S = \sum_{w} \max\Big(-A_{FN}, \max_{t \in w} A_{TP} \frac{\sigma(y_t)}{\sigma(-1)}\Big)
        + A_{FP} \sum_{t \notin w} \sigma(y_t),\qquad \sigma(y) = \frac{2}{1 + e^{5 y}} - 1

    The maximum is over detections, steps with a score of at least the threshold. In a window of n steps :math:`y_t`
    rises from -1 to -1/n; after it, it is the distance from its last step over n - 1; from 3 on and before the first
    window, :math:`\sigma = -1`. The result is :math:`100\, (S + A_{FN} W) / (A_{TP} W + A_{FN} W)` with the number of
    windows W. The first steps of each series, its probation, are not counted: see `probation`.

    As published, the threshold is the one with the largest score, which needs the labels of the whole corpus: such a
    score is not comparable with that of a threshold that was chosen without labels.

    Args:
        scores: of each series, (T,), higher for more unusual steps.
        windows: of each series, (T,) bool: the steps of labelled windows.
        profile: ``standard``; ``low-fp``, false alarms cost twice as much; ``low-fn``, missed windows do.
        threshold: one for all series; the best by the labels if None.

    Raises:
        RequestError: an unknown profile, series of unequal lengths, or no window after the probation.

    Example:
        >>> labels = np.arange(200) // 20 == 5
        >>> perfect = np.zeros(200)
        >>> perfect[100] = 1
        >>> nab([perfect], [labels], threshold=0.5).score
        100.0

    Reference:
        Lavin, Ahmad, Evaluating Real-Time Anomaly Detection Algorithms, the Numenta Anomaly Benchmark, 2015.
        arXiv:1510.03336
    """
    tp, fp, fn = PROFILES[choice("profile", profile, tuple(PROFILES))]
    found = [_checked(s, w, i) for i, (s, w) in enumerate(zip(scores, windows, strict=True))]
    all_scores, values, of = (np.concatenate(parts) for parts in zip(*_numbered(found), strict=True))
    count = len(np.unique(of[of >= 0]))
    if not count:
        raise refuse("windows", "none", "at least one window after the first steps of its series")
    order = np.argsort(-all_scores, kind="stable")
    ordered = all_scores[order]
    values = np.where(of >= 0, tp * values, fp * values)[order]
    gains = _gains(values, of[order], fn)
    totals = np.concatenate([[0.0], np.cumsum(gains)])  # over the n steps with the largest scores
    last = np.concatenate([[True], ordered[1:] != ordered[:-1], [True]])  # equal scores are detected together
    if threshold is None:
        best = int(np.argmax(np.where(last, totals, -np.inf)))
        threshold = float(ordered[best - 1]) if best else float("inf")
    n = int((all_scores >= threshold).sum())
    inside = of[order][:n]
    return NabScore(
        float(100 * totals[n] / (count * (tp + fn))),
        threshold,
        len(np.unique(inside[inside >= 0])),
        count,
        int((inside < 0).sum()),
    )


def probation(steps: int) -> int:
    """The number of first steps that are not counted: 15 % of the series, at most 750.

    Example:
        >>> probation(1000), probation(10_000)
        (150, 750)
    """
    return min(int(0.15 * steps), 750)


def point_values(windows: np.ndarray) -> np.ndarray:
    r"""The value of a detection at each step, from 1 at the first step of a window to -1 far from windows.

    Args:
        windows: the steps of windows, (T,) bool.

    Returns:
        :math:`\sigma(y_t) / \sigma(-1)` in windows, :math:`\sigma(y_t)` outside of them, (T,).

    Example:
        >>> point_values(np.array([False, True, True, False, False])).round(2)
        array([-1.  ,  1.  ,  0.86, -0.99, -1.  ])
    """
    values = np.full(len(windows), -1.0)
    begun = runs(windows)
    for i, (start, end) in enumerate(begun):
        width = end - start
        values[start:end] = _sigmoid(-np.arange(width, 0, -1) / width) / _sigmoid(np.array(-1.0))
        after = np.arange(end, begun[i + 1][0] if i + 1 < len(begun) else len(windows))
        away = (after - (end - 1)) / max(width - 1, 1)
        values[after] = np.where(away < _FAR, _sigmoid(away), -1.0)
    return values


def _sigmoid(y: np.ndarray) -> np.ndarray:
    return np.asarray(2 / (1 + np.exp(5 * y)) - 1)


def _checked(scores: np.ndarray, windows: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The scores and labels of one series.

    Raises:
        RequestError: they differ in length, or a score is no number.
    """
    scores, windows = np.asarray(scores, float), np.asarray(windows, bool)
    if scores.shape != windows.shape or scores.ndim != 1:
        got = f"of shape {scores.shape} in series {number}"
        raise refuse("scores", got, f"one score for each of {len(windows):,} steps")
    if np.isnan(scores).any():
        raise refuse("scores", f"NaN in series {number}", "numbers")
    return scores, windows


def _numbered(found: list[tuple[np.ndarray, np.ndarray]]) -> list[tuple[np.ndarray, ...]]:
    """Of the steps after the probation: scores, values, and the number of the window, -1 outside."""
    parts: list[tuple[np.ndarray, ...]] = []
    number = 0
    for scores, windows in found:
        of, begun = np.full(len(scores), -1), runs(windows)
        for start, end in begun:
            of[start:end] = number
            number += 1
        skip = probation(len(scores))
        parts.append((scores[skip:], point_values(windows)[skip:], of[skip:]))
    return parts


def _gains(values: np.ndarray, of: np.ndarray, fn: float) -> np.ndarray:
    """What each detection adds to the total, in the order of detection: of a window the best one counts."""
    gains = np.where(of < 0, values, 0.0)
    for window in np.unique(of[of >= 0]):
        (steps,) = np.nonzero(of == window)
        best = np.maximum.accumulate(np.maximum(values[steps], -fn))
        gains[steps] = np.diff(best, prepend=-fn)
    return gains
