"""Split-conformal p-values of anomaly scores, the false discovery rate, and thresholds."""

from __future__ import annotations

import math

import numpy as np

from narrows.core.check import RequestError, fraction

__all__ = ["check_rows", "discoveries", "p_values", "threshold", "typical_p_values"]


def p_values(scores: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    r"""The conformal p-value of each score, whatever the distribution of the scores.

    .. math:: p = \frac{1 + \#\{i : s_i \ge s\}}{n + 1},\qquad P(p \le \alpha) \le \alpha

    The inequality holds for a row that is exchangeable with the calibration rows, over draws of both.

    Args:
        scores: higher for more unusual rows, (N,).
        calibration: the scores of n rows that the model was not fitted to, (n,).

    Returns:
        (N,), multiples of 1 / (n + 1).

    Example:
        >>> p_values(np.array([5.0, 0.5, 2.0]), np.array([1.0, 2.0, 3.0]))
        array([0.25, 1.  , 0.75])

    Reference:
        Laxhammar, Falkman, Conformal Prediction for Distribution-Independent Anomaly Detection in Streaming Vessel
        Data, 2010; Bates et al., Testing for Outliers with Conformal p-values, 2021. arXiv:2104.08279
    """
    return (1 + _at_least(np.sort(calibration), scores)) / (len(calibration) + 1)


def typical_p_values(nll: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    r"""The conformal p-values of the typicality :math:`|s - H|`, where H is the mean over calibration rows.

    H depends on the calibration rows, and not on the row that is tested, so that distances from it are not
    exchangeable. Here the mean of each test is over the calibration rows and the tested one.

    Args:
        nll: -log p(x), (N,).
        calibration: the same of n rows, (n,).

    Example:
        >>> typical_p_values(np.array([2.0, 9.0, -9.0]), np.array([1.0, 2.0, 3.0]))
        array([1.  , 0.25, 0.25])
    """
    n, known = len(calibration), np.sort(calibration)
    centre = (calibration.sum() + nll) / (n + 1)
    away = np.abs(nll - centre)
    above = _at_least(known, centre + away)
    below = np.searchsorted(known, centre - away, side="right")
    return (1 + np.minimum(above + below, n)) / (n + 1)


def _at_least(known: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The number of sorted values that are at least each score."""
    return np.asarray(len(known) - np.searchsorted(known, scores, side="left"))


def discoveries(p: np.ndarray) -> np.ndarray:
    r"""The Benjamini-Hochberg q-value of each p-value: the least false discovery rate at which its row is flagged.

    .. math:: q_{(i)} = \min_{j \ge i} \frac{N}{j}\, p_{(j)}

    Rows with :math:`q \le f` have a false discovery rate of at most f, also for conformal p-values of one calibration
    set, which depend on each other (Bates et al., 2021, theorem 2).

    Example:
        >>> discoveries(np.array([0.01, 0.04, 0.03, 0.5]))
        array([0.04      , 0.05333333, 0.05333333, 0.5       ])

    Reference:
        Benjamini, Hochberg, Controlling the False Discovery Rate, 1995.
    """
    order = np.argsort(p, kind="stable")
    raw = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 1.0)
    return q


def threshold(calibration: np.ndarray, contamination: float) -> float:
    """The 1 - c quantile of calibration scores, above which a row is flagged.

    Example:
        >>> threshold(np.arange(101.0), 0.05)
        95.0
    """
    return float(np.quantile(calibration, 1 - fraction("contamination", contamination)))


def check_rows(argument: str, level: float, n: int) -> None:
    """Check that n calibration rows can flag anything at a level.

    Raises:
        RequestError: a level that is no fraction; the least p-value, 1 / (n + 1), is above it.

    Example:
        >>> check_rows("alpha", 0.01, 99)
    """
    needed = math.ceil(1 / fraction(argument, level) - 1 - 1e-9)
    if n < needed:
        raise RequestError(
            f"``{argument}={level!r}`` needs at least {needed:,} calibration rows, and there are {n:,}: the least "
            f"p-value is 1 / ({n:,} + 1). Use a larger ``{argument}``, or calibrate with more rows."
        )
