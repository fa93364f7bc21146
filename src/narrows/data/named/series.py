"""Time series: sequences (N, T, D)."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from narrows.core.check import refuse, whole
from narrows.data.named.reading import arrays, paths
from narrows.data.named.registry import Set
from narrows.data.raw import Raw

__all__ = ["channels", "ecg", "plain", "windows"]


def plain(row: Set) -> Raw:
    """Sequences with one column, (N, T) -> (N, T, 1), with labels and the official split where there is one."""
    return _labelled(row, lambda x: x[..., None])


def channels(row: Set) -> Raw:
    """Sequences stored channels first, (N, D, T) -> (N, T, D)."""
    return _labelled(row, lambda x: np.ascontiguousarray(x.swapaxes(1, 2)))


def _labelled(row: Set, turned: Callable[[np.ndarray], np.ndarray]) -> Raw:
    with zipfile.ZipFile(paths(row)[0]) as z:
        official = "x_train.npy" in z.namelist()
    if not official:
        x, y = arrays(row, "x", "y")
        return Raw(turned(x), y, layout="sequence", split=0.2)
    x, y, x_test, y_test = arrays(row, "x_train", "y_train", "x_test", "y_test")
    return Raw(turned(x), y, test=Raw(turned(x_test), y_test, layout="sequence"), layout="sequence")


def windows(row: Set, length: int = 24) -> Raw:
    """Windows of one long series, a step apart; the last tenth of the series is the test part.

    Args:
        row: which set.
        length: steps of a window, T.
    """
    (series,) = arrays(row, "x" if row.name == "timegan-stock" else "series")
    cut = round(0.9 * len(series))
    return sliding(series[:cut], series[cut:], length, 1)


def ecg(row: Set, length: int = 256) -> Raw:
    """Windows of a two-lead record in millivolts, side by side; the last tenth is the test part.

    Args:
        row: which set.
        length: samples of a window, T; there are 360 in a second.
    """
    adc, gain, baseline = arrays(row, "adc", "gain", "baseline")
    series = ((adc - baseline) / gain).astype(np.float32)
    cut = round(0.9 * len(series))
    return sliding(series[:cut], series[cut:], length, length)


def sliding(train: np.ndarray, test: np.ndarray, length: int, step: int) -> Raw:
    """Windows of two parts of a series, so that none lies in both, (steps, D) -> (N, length, D).

    The stores ``series`` and ``step`` say where in its part each begins.
    """
    if whole("length", length) > len(test):
        raise refuse("length", length, f"at most {len(test)}, the steps of the test part")

    def cut(series: np.ndarray) -> np.ndarray:
        views = np.lib.stride_tricks.sliding_window_view(series, length, axis=0)[::step]
        return np.ascontiguousarray(views.swapaxes(1, 2), dtype=np.float32)

    def raw(series: np.ndarray) -> Raw:
        x = cut(series)
        places = {"series": np.zeros(len(x), np.int64), "step": step * np.arange(len(x))}
        return Raw(x, layout="sequence", ordered=True, stores=places)

    return replace(raw(train), test=raw(test))
