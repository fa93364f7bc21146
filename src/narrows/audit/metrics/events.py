"""Detections of labelled stretches of series: by event, with their delay, and by step."""

from __future__ import annotations

import math

import numpy as np

from narrows.core.check import refuse

__all__ = ["event_scores", "runs", "step_scores"]


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """The stretches where a mask is true, each as its first step and the step after its last.

    Example:
        >>> runs(np.array([True, False, True, True]))
        [(0, 1), (2, 4)]
    """
    padded = np.concatenate([[False], np.asarray(mask, bool), [False]]).astype(np.int8)
    change = np.diff(padded)
    starts, ends = np.nonzero(change == 1)[0], np.nonzero(change == -1)[0]
    return [(int(a), int(b)) for a, b in zip(starts, ends, strict=True)]


def event_scores(flagged: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Precision, recall and F1 of events, and the delay of their detection.

    An event is a stretch of labelled steps; it is detected if one of them is flagged. A stretch of flagged steps that
    overlaps no event is one false alarm. Precision is the share of flagged stretches that overlap an event. Flags are
    not extended over events (point adjustment): by that, a random score has a high F1.

    Args:
        flagged: the steps that are flagged, (T,) bool.
        labels: the steps of events, (T,) bool.

    Returns:
        ``precision``, ``recall``, ``f1``, and ``delay``, the mean number of steps from the start of a detected event
        to its first flag, NaN if none is detected.

    Raises:
        RequestError: lengths differ, or there is no event.

    Example:
        >>> flags = np.array([1, 0, 0, 0, 1, 0, 0], bool)
        >>> event_scores(flags, np.array([0, 0, 0, 1, 1, 1, 0], bool))
        {'precision': 0.5, 'recall': 1.0, 'f1': 0.6666666666666666, 'delay': 1.0}
    """
    flagged, labels = _checked(flagged, labels)
    events, alarms = runs(labels), runs(flagged)
    if not events:
        raise refuse("labels", "no labelled step", "at least one event")
    first = [np.flatnonzero(flagged[start:end])[:1] for start, end in events]
    delays = [int(found[0]) for found in first if len(found)]
    recall = len(delays) / len(events)
    true = sum(bool(labels[start:end].any()) for start, end in alarms)
    precision = true / len(alarms) if alarms else 0.0
    delay = float(np.mean(delays)) if delays else math.nan
    return {"precision": precision, "recall": recall, "f1": _f1(precision, recall), "delay": delay}


def step_scores(flagged: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    r"""F1, false alarm rate and missed alarm rate of steps, as in the SKAB benchmark.

    .. math:: \text{FAR} = \frac{FP}{FP + TN},\quad \text{MAR} = \frac{FN}{FN + TP}

    Args:
        flagged: the steps that are flagged, (T,) bool.
        labels: the anomalous steps, (T,) bool.

    Returns:
        ``f1``, ``far`` and ``mar``, fractions.

    Raises:
        RequestError: lengths differ, or no step or each step is labelled.

    Example:
        >>> step_scores(np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool))
        {'f1': 0.5, 'far': 0.5, 'mar': 0.5}
    """
    flagged, labels = _checked(flagged, labels)
    if labels.all() or not labels.any():
        raise refuse("labels", "steps of one kind", "normal and anomalous ones")
    recall = float(flagged[labels].mean())
    precision = float(labels[flagged].mean()) if flagged.any() else 0.0
    return {"f1": _f1(precision, recall), "far": float(flagged[~labels].mean()), "mar": 1 - recall}


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _checked(flagged: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flagged, labels = np.asarray(flagged, bool), np.asarray(labels, bool)
    if flagged.shape != labels.shape or flagged.ndim != 1:
        raise refuse("flagged", f"of shape {flagged.shape}", f"a flag for each of {len(labels):,} steps")
    return flagged, labels
