"""Maps of anomaly scores over pixels: smoothing, masks, and their agreement with true masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from narrows.core.check import RequestError, number, optional, refuse, whole
from narrows.core.spelling import Table

__all__ = [
    "MASKS",
    "Mask",
    "Otsu",
    "Quantile",
    "agreement",
    "average_precision",
    "dice",
    "opened",
    "otsu",
    "pro",
    "smoothed",
]

_LEVELS = 256
_PRO_LIMIT = 0.3


def smoothed(maps: np.ndarray, sigma: float) -> np.ndarray:
    """Maps (N, H, W) after a Gaussian filter, whose weights at the edge sum to 1 too; 0 for none.

    Example:
        >>> smoothed(np.ones((1, 4, 4)), 1.5).round(6).min()
        np.float64(1.0)
    """
    if number("smooth", sigma, low=0) == 0:
        return maps
    ndimage = optional("scipy.ndimage", "sklearn", "smooth maps")
    maps = np.asarray(maps, np.float64)
    weights = ndimage.gaussian_filter(np.ones(maps.shape[1:]), sigma, mode="constant")
    return np.asarray(ndimage.gaussian_filter(maps, (0, sigma, sigma), mode="constant") / weights)


def otsu(values: np.ndarray) -> float:
    r"""The threshold that separates values into two classes with the largest variance between them.

    .. math:: \max_t\; w_0 w_1 (m_0 - m_1)^2

    over 256 bins of equal width, as usual.

    Example:
        >>> 1 < otsu(np.array([0.0, 1.0, 0.5, 9.0, 10.0])) < 9
        True

    Reference:
        Otsu, A Threshold Selection Method from Gray-Level Histograms, 1979.
    """
    counts, edges = np.histogram(values, _LEVELS)
    centres = (edges[1:] + edges[:-1]) / 2
    below, above = np.cumsum(counts)[:-1], np.cumsum(counts[::-1])[::-1][1:]
    sums = np.cumsum(counts * centres)
    low = sums[:-1] / np.maximum(below, 1)
    high = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * np.square(low - high)
    best = np.flatnonzero(between == between.max())
    return float(edges[1:-1][best].mean())  # the middle of a gap


def opened(masks: np.ndarray, area: int) -> np.ndarray:
    """Masks (N, H, W) without connected regions (8 neighbours) of fewer than `area` pixels.

    Example:
        >>> opened(np.array([[[True, True, False, True]]]), 2).tolist()
        [[[True, True, False, False]]]
    """
    if whole("area", area, low=0) < 2:
        return masks
    kept = np.zeros_like(masks)
    for mask, out in zip(masks, kept, strict=True):
        labels, count = regions(mask)
        large = np.bincount(labels.ravel(), minlength=count + 1) >= area
        large[0] = False
        out[:] = large[labels]
    return kept


def regions(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """The connected regions of a mask (H, W), numbered from 1, and their number."""
    ndimage = optional("scipy.ndimage", "sklearn", "find regions of masks")
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    return labels, int(count)


class Mask:
    """From maps to masks.

    Args:
        smooth: standard deviation of a Gaussian filter in pixels, applied first; 0 for none.
        area: the least number of pixels of a region; smaller ones are removed.
    """

    def __init__(self, smooth: float = 0.0, area: int = 0) -> None:
        self.smooth, self.area = number("smooth", smooth, low=0), whole("area", area, low=0)

    def threshold(self, maps: np.ndarray, healthy: np.ndarray) -> float:
        """The value above which a pixel belongs to the mask."""
        raise NotImplementedError(f"{type(self).__name__} must define threshold")

    def __call__(self, maps: np.ndarray, healthy: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """The smoothed maps (N, H, W), the masks, and the threshold, given the maps of calibration rows."""
        maps, healthy = smoothed(maps, self.smooth), smoothed(healthy, self.smooth)
        most = self.threshold(maps, healthy)
        return maps, opened(maps > most, self.area), most


class Quantile(Mask):
    """A quantile of the pixels of calibration rows.

    Args:
        level: the fraction of them that are below the threshold.
        smooth: standard deviation of a Gaussian filter in pixels, applied first; 0 for none.
        area: the least number of pixels of a region; smaller ones are removed.
    """

    def __init__(self, level: float = 0.995, smooth: float = 0.0, area: int = 0) -> None:
        super().__init__(smooth, area)
        self.level = number("level", level, low=0, high=1)

    def threshold(self, maps: np.ndarray, healthy: np.ndarray) -> float:
        """The quantile."""
        return float(np.quantile(healthy, self.level))


class Otsu(Mask):
    """Otsu's threshold of the scored pixels, which needs no calibration but anomalies among them.

    Args:
        smooth: standard deviation of a Gaussian filter in pixels, applied first; 0 for none.
        area: the least number of pixels of a region; smaller ones are removed.
    """

    def __init__(self, smooth: float = 0.0, area: int = 0) -> None:
        super().__init__(smooth, area)

    def threshold(self, maps: np.ndarray, healthy: np.ndarray) -> float:
        """The threshold of largest variance between classes."""
        return otsu(maps)


MASKS: Table[Mask] = Table(
    "mask", f"{__name__}:Mask", {"quantile": f"{__name__}:Quantile", "otsu": f"{__name__}:Otsu"}
)
"""The ways from maps to masks, by name."""


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    r"""The area under the precision-recall curve of pixels, :math:`\sum_t (R_t - R_{t-1}) P_t` over distinct scores.

    Example:
        >>> average_precision(np.array([3.0, 2.0, 1.0]), np.array([True, False, True]))
        0.8333333333333333
    """
    hits, false = _counts(scores, truth.astype(np.float64), ~truth)
    return float(np.sum(np.diff(hits, prepend=0.0) * hits / (hits + false)) / hits[-1])


def dice(masks: np.ndarray, truth: np.ndarray) -> float:
    """Twice the common pixels over all pixels of both masks.

    Example:
        >>> dice(np.array([True, True, False]), np.array([True, False, False]))
        0.6666666666666666
    """
    return float(2 * (masks & truth).sum() / max(1, masks.sum() + truth.sum()))


def pro(maps: np.ndarray, truth: np.ndarray, limit: float = _PRO_LIMIT) -> float:
    r"""The per-region overlap, averaged over false positive rates up to a limit.

    .. math:: \frac{1}{f} \int_0^f \frac1C \sum_{c=1}^C \frac{|\{s \ge t(u)\} \cap c|}{|c|}\, du

    where t(u) is the threshold with the false positive rate u, and c are the connected regions of all true masks, each
    of which counts alike.

    Args:
        maps: (N, H, W).
        truth: true masks, (N, H, W) bool.
        limit: f.

    Reference:
        Bergmann et al., The MVTec Anomaly Detection Dataset, 2021.
    """
    weights = np.zeros(truth.shape)
    count = 0
    for mask, out in zip(truth, weights, strict=True):
        labels, found = regions(mask)
        sizes = np.bincount(labels.ravel(), minlength=found + 1)
        out[mask] = 1 / sizes[labels[mask]]
        count += found
    hits, false = _counts(maps, weights / count, ~truth)
    rates = np.concatenate([[0.0], false / max(1, false[-1])])
    overlap = np.concatenate([[0.0], hits])
    grid = np.append(rates[rates < limit], limit)
    reached = np.append(overlap[rates < limit], np.interp(limit, rates, overlap))
    return float(np.trapezoid(reached, grid) / limit)


def _counts(scores: np.ndarray, weights: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of weights and numbers of negatives with at least each distinct score, from the highest."""
    order = np.argsort(-scores.ravel(), kind="stable")
    ranked = scores.ravel()[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits, false = (np.cumsum(values.ravel()[order])[last] for values in (weights, negative))
    return hits, false


@dataclass(frozen=True)
class Agreement:
    """Agreement of maps and masks with true masks.

    Args:
        auprc: the area under the precision-recall curve of pixels.
        dice: of the masks.
        pro: the per-region overlap.
    """

    auprc: float
    dice: float
    pro: float


def agreement(maps: np.ndarray, masks: np.ndarray, truth: np.ndarray) -> Agreement:
    """The three figures.

    Raises:
        RequestError: true masks of another shape, with other values than 0 and another, or without a pixel of either
            class.
    """
    if truth.shape != maps.shape:
        raise refuse("truth", list(truth.shape), f"masks of the shape of the maps, {list(maps.shape)}")
    if len(np.unique(truth)) > 2 or truth.min() < 0:
        raise refuse(
            "truth", f"{len(np.unique(truth))} different values", "masks: 0, and another value for anomalies"
        )
    truth = truth > 0
    if truth.all() or not truth.any():
        raise RequestError(
            "The true masks have no anomalous pixel, or no other: there is nothing to compare with."
        )
    return Agreement(average_precision(maps, truth), dice(masks, truth), pro(maps, truth))
