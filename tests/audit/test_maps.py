"""Maps of scores: against loops over thresholds, pixels and regions."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from narrows.audit.metrics.maps import (
    MASKS,
    agreement,
    average_precision,
    dice,
    opened,
    otsu,
    pro,
    smoothed,
)
from narrows.core.check import RequestError

RNG = np.random.default_rng(0)
MAPS = RNG.integers(0, 12, (3, 9, 11)).astype(float)
TRUTH = np.zeros((3, 9, 11), bool)
TRUTH[0, 1:4, 2:6] = TRUTH[0, 6, 9] = TRUTH[1, 5:8, 0:2] = True


def flood(mask):
    """Regions by a search over eight neighbours."""
    left, found = set(zip(*np.nonzero(mask), strict=True)), []
    while left:
        todo, region = [left.pop()], set()
        while todo:
            i, j = todo.pop()
            region.add((i, j))
            near = {(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1)} & left
            left -= near
            todo += near
        found.append(region)
    return found


def test_average_precision_is_that_of_scikit_learn():
    ours = average_precision(MAPS, TRUTH)
    assert ours == pytest.approx(average_precision_score(TRUTH.ravel(), MAPS.ravel()))


def test_pro_is_the_mean_overlap_of_regions_over_thresholds():
    regions = [(n, region) for n in range(3) for region in flood(TRUTH[n])]
    assert len(regions) == 3
    points = [(0.0, 0.0)]
    for threshold in sorted(np.unique(MAPS), reverse=True):
        above = threshold <= MAPS
        overlap = np.mean([np.mean([above[n][p] for p in region]) for n, region in regions])
        points.append((above[~TRUTH].mean(), overlap))
    rates, overlaps = map(np.array, zip(*points, strict=True))
    for limit in (0.05, 0.3, 1.0):
        grid = np.linspace(0, limit, 200_001)
        direct = np.interp(grid, rates, overlaps).mean()
        assert pro(MAPS, TRUTH, limit) == pytest.approx(direct, abs=1e-4)
    assert pro(TRUTH.astype(float), TRUTH) == pytest.approx(1, abs=1e-9)


def test_dice_counts_pixels():
    mask = MAPS > 8
    both = sum(bool(a and b) for a, b in zip(mask.ravel(), TRUTH.ravel(), strict=True))
    assert dice(mask, TRUTH) == pytest.approx(2 * both / (mask.sum() + TRUTH.sum()))


def test_small_regions_are_removed():
    masks = MAPS > 7
    for area in (0, 1, 3, 6):
        direct = np.zeros_like(masks)
        for n, mask in enumerate(masks):
            for region in flood(mask):
                if len(region) >= area:
                    direct[n][tuple(zip(*region, strict=True))] = True
        np.testing.assert_array_equal(opened(masks, area), direct)


def test_otsu_has_the_largest_variance_between_classes():
    values = np.concatenate([RNG.normal(0, 1, 400), RNG.normal(7, 1, 100)])

    def between(threshold):
        low, high = values[values <= threshold], values[values > threshold]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2

    best = max(between(t) for t in np.linspace(values.min() + 0.01, values.max() - 0.01, 2000))
    assert between(otsu(values)) > 0.995 * best


def test_smoothing_is_a_gaussian_filter_whose_weights_sum_to_one():
    inner = np.zeros((1, 41, 41))
    inner[0, 20, 20] = 1
    squares = np.square(np.arange(-20, 21))
    kernel = np.exp(-0.5 * (squares[:, None] + squares) / 2.0**2)
    np.testing.assert_allclose(smoothed(inner, 2.0)[0], kernel / kernel.sum(), atol=1e-5)
    np.testing.assert_allclose(smoothed(np.full((1, 5, 7), 3.0), 2.0), 3.0)
    np.testing.assert_array_equal(smoothed(inner, 0), inner)


def test_the_quantile_is_of_healthy_pixels():
    healthy = RNG.normal(size=(20, 10, 10))
    _, masks, threshold = MASKS.make("quantile:level=0.99")(np.full((1, 10, 10), 99.0), healthy)
    assert threshold == pytest.approx(np.quantile(healthy, 0.99))
    assert masks.all()


@pytest.mark.parametrize(
    ("truth", "says"),
    [
        (TRUTH[:2], "shape of the maps"),
        (np.zeros_like(TRUTH), "no anomalous pixel"),
        (MAPS.astype(int), "different values"),
    ],
)
def test_bad_masks(truth, says):
    with pytest.raises(RequestError, match=says):
        agreement(MAPS, MAPS > 3, truth)


@pytest.mark.parametrize("text", ["quantile:level=2", "otsu:smooth=-1", "quantile:area=-1"])
def test_bad_options(text):
    with pytest.raises(RequestError):
        MASKS.make(text)
