"""`score_map`: where in an image the anomaly is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from narrows.audit.metrics.maps import MASKS, Agreement, Mask, agreement
from narrows.core.check import RequestError
from narrows.runs.verbs.calibration import own_rows
from narrows.runs.verbs.explain import excess

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["Mapped", "score_map"]


@dataclass(frozen=True)
class Mapped:
    """Scores of the pixels of N images.

    Args:
        maps: (N, H, W), the terms of pixels minus their medians over calibration rows, smoothed.
        masks: (N, H, W) bool, the pixels that are anomalies.
        threshold: of the maps.
        agreement: with true masks, if they were given.
    """

    maps: np.ndarray
    masks: np.ndarray
    threshold: float
    agreement: Agreement | None = None


def score_map(
    run: Run,
    data: Any = None,
    *,
    mask: str | Mask = "quantile",
    truth: np.ndarray | None = None,
    calibration: Any = None,
    progress: Any = None,
) -> Mapped:
    """The map of anomaly scores over the pixels of each image.

    Args:
        run: a run on images.
        data: the images; the test split of the run if None.
        mask: from maps to masks: ``quantile:level=0.995``, a quantile of the pixels of calibration rows, or ``otsu``;
            with ``smooth``, the standard deviation of a Gaussian filter, and ``area``, the least size of a region.
        truth: true masks, (N, H, W) or (N, 1, H, W), to compare with.
        calibration: as for `Run.calibration`.
        progress: a `narrows.core.progress.Progress`, or None.

    Raises:
        RequestError: data that are no images, a method whose distortion has no terms for pixels, or true masks of
            another shape.
    """
    if run.recipe.spec.kind != "array" or len(run.recipe.spec.shape) != 3:
        raise RequestError(
            f"A map is of images, and the data of this run have the shape {tuple(run.recipe.spec.shape)}. To name the "
            "columns that make a row odd, use ``explain``."
        )
    chosen = MASKS.make(mask)
    rows = own_rows(run)[0] if calibration is None else calibration
    maps, healthy = (
        np.nansum(excess(run, images, calibration, progress), 1)
        for images in (run.dataset(data), run.dataset(rows))
    )
    if truth is not None and truth.ndim == 4 and truth.shape[1] == 1:
        truth = truth[:, 0]
    if truth is not None and truth.shape != maps.shape:
        agreement(maps, maps > 0, truth)  # raises before masks are made
    found, masks, threshold = chosen(maps, healthy)
    return Mapped(found, masks, threshold, None if truth is None else agreement(found, masks, truth))
