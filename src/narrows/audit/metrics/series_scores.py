"""All scores of generated windows of series against real ones."""

from __future__ import annotations

from torch import Tensor

from narrows.audit.metrics.series_distances import (
    autocorrelation_distance,
    correlation_distance,
    spectrum_distance,
    wasserstein,
)
from narrows.audit.metrics.series_judges import Judge, discriminative_score, predictive_score

__all__ = ["series_scores"]


def series_scores(
    real: Tensor,
    made: Tensor,
    places: Tensor | None = None,
    *,
    predicted: Tensor | None = None,
    judge: Judge | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """The scores by two recurrent nets, and the distances; lower is better for all.

    Args:
        real: windows (N, T, C), at least 10.
        made: generated windows (M, T, C).
        places: the series and the first step of each real window, (N, 2); None for windows that share no steps.
        predicted: the real windows of the predictive score; all when None.
        judge: how the nets are trained.
        seed: of the nets and the division.

    Returns:
        ``discriminative``, ``predictive``, ``autocorrelation``, ``spectrum``, ``wasserstein`` and, of several channels,
        ``correlation``.
    """
    across = correlation_distance(real, made)
    return {
        "discriminative": discriminative_score(real, made, places, judge=judge, seed=seed),
        "predictive": predictive_score(
            real if predicted is None else predicted, made, judge=judge, seed=seed
        ),
        "autocorrelation": autocorrelation_distance(real, made),
        "spectrum": spectrum_distance(real, made),
        "wasserstein": wasserstein(real, made),
        **({} if across is None else {"correlation": across}),
    }
