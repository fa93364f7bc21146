import math

import numpy as np
import pytest

from narrows.audit.metrics.disentanglement import dci, dci_scores, mig, mutual_information, sap
from narrows.core.check import RequestError

RNG = np.random.default_rng(0)
FACTORS = np.stack([RNG.integers(0, n, 4000) for n in (2, 3, 5, 10)], 1)


def brute_mig(codes, factors, bins):
    """Loops over cells, in float64, from the definition."""
    gaps = []
    for v in factors.T:
        informations = []
        entropy = -sum(np.mean(v == a) * math.log(np.mean(v == a)) for a in set(v.tolist()))
        for z in codes.T:
            edges = np.histogram(z, bins)[1]
            cell = np.digitize(z, edges[1:-1])
            total = 0.0
            for a in set(v.tolist()):
                for c in set(cell.tolist()):
                    joint = np.mean((v == a) & (cell == c))
                    if joint > 0:
                        total += joint * math.log(joint / (np.mean(v == a) * np.mean(cell == c)))
            informations.append(total)
        best, second = sorted(informations)[::-1][:2]
        gaps.append((best - second) / entropy)
    return float(np.mean(gaps))


def test_mig_equals_the_definition_counted_cell_by_cell():
    codes = FACTORS @ RNG.normal(size=(4, 3)) + RNG.normal(size=(4000, 3))
    assert mig(codes, FACTORS) == pytest.approx(brute_mig(codes, FACTORS, 20), abs=1e-12)


def test_mutual_information_of_a_copied_factor_is_its_entropy():
    information, entropy = mutual_information(FACTORS, FACTORS)
    assert np.diag(information) == pytest.approx(entropy, abs=1e-12)
    assert entropy == pytest.approx(np.log([2, 3, 5, 10]), abs=0.01)


def test_identity_code_scores_high():
    assert mig(FACTORS, FACTORS) >= 0.9
    assert sap(FACTORS, FACTORS) >= 0.9
    assert min(dci(FACTORS, FACTORS)) >= 0.9


def test_constant_code_scores_low():
    constant = np.ones((4000, 4))
    assert mig(constant, FACTORS) <= 0.2
    assert sap(constant, FACTORS) <= 0.2
    assert max(dci(constant, FACTORS)[:2]) <= 0.2


def test_duplicated_code_has_no_gap():
    twice = np.concatenate([FACTORS, FACTORS], 1)
    assert mig(twice, FACTORS) <= 0.1
    assert sap(twice, FACTORS) <= 0.1
    assert dci(twice, FACTORS).disentanglement >= 0.9


def test_dci_of_one_code_with_two_factors_is_the_closed_form():
    importance = np.concatenate([5 * np.eye(5), 5 * np.eye(5)], 1)
    disentanglement, completeness = dci_scores(importance)
    assert disentanglement == pytest.approx(1 - math.log(2) / math.log(10))
    assert completeness == pytest.approx(1.0)


def test_dci_of_uniform_importances_is_zero():
    assert dci_scores(np.ones((3, 4))) == pytest.approx((0.0, 0.0))
    assert dci_scores(np.zeros((3, 4))) == (0.0, 0.0)


def test_rows_count_by_their_share_of_importance():
    weights = [[3.0, 0.0], [0.5, 0.5]]
    assert dci_scores(weights)[0] == pytest.approx(0.75 * 1 + 0.25 * 0)


def test_a_factor_that_never_varies_is_left_out():
    still = np.concatenate([FACTORS, np.full((4000, 1), 7)], 1)
    assert mig(FACTORS, still) == mig(FACTORS, FACTORS)


def test_scores_are_the_same_twice():
    codes = FACTORS + RNG.normal(size=FACTORS.shape)
    assert dci(codes, FACTORS, seed=3) == dci(codes, FACTORS, seed=3)
    assert sap(codes, FACTORS, seed=3) == sap(codes, FACTORS, seed=3)


@pytest.mark.parametrize(
    ("codes", "factors"),
    [
        (np.zeros((5, 2)), np.zeros((6, 2), int)),
        (np.zeros(5), np.zeros((5, 2), int)),
        (np.zeros((5, 2)), np.zeros((5, 2), int)),
        (np.full((5, 2), np.nan), np.arange(10).reshape(5, 2)),
    ],
)
def test_wrong_inputs_are_refused(codes, factors):
    with pytest.raises(RequestError):
        mig(codes, factors)
