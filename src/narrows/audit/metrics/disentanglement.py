"""Disentanglement for known factors: MIG, DCI and SAP.

Codes are real numbers (N, Z), factors whole numbers (N, F), as tensors or arrays. A constant factor is left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.core.check import optional, refuse

__all__ = ["DCI", "dci", "dci_scores", "halves", "mig", "mutual_information", "paired", "sap"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class DCI(NamedTuple):
    """Disentanglement, completeness and informativeness, each from 0 to 1."""

    disentanglement: float
    completeness: float
    informativeness: float


def mutual_information(codes: ArrayLike, factors: ArrayLike, bins: int = 20) -> tuple[Floats, Floats]:
    """I(z_j; v_k) in nats, (Z, F), each code cut into `bins` equal intervals, and H(v_k) in nats, (F,)."""
    z, v = paired(codes, factors)
    cut = np.stack([_binned(column, bins) for column in z.T], 1)
    joint = [[_entropy(_joint(c, f)) for f in v.T] for c in cut.T]
    code_entropy = np.array([_entropy(np.bincount(c)) for c in cut.T])
    factor_entropy = np.array([_entropy(np.bincount(f)) for f in v.T])
    information = code_entropy[:, None] + factor_entropy[None] - np.array(joint)
    return np.maximum(information, 0.0), factor_entropy


def mig(codes: ArrayLike, factors: ArrayLike, bins: int = 20) -> float:
    r"""The mutual information gap between the most and the second most informative code for each factor.

    .. math:: \frac{1}{F} \sum_k \frac{I(z_{j(k)}; v_k) - \max_{j \ne j(k)} I(z_j; v_k)}{H(v_k)}

    Args:
        codes: (N, Z).
        factors: (N, F) whole numbers.
        bins: intervals of each code's histogram.

    Raises:
        RequestError: shapes that do not fit, or no factor that varies.

    Example:
        >>> v = np.random.default_rng(0).integers(0, 5, (500, 3))
        >>> mig(v, v) > 0.9
        True

    Reference:
        Chen et al., Isolating Sources of Disentanglement in VAEs (2018), arXiv 1802.04942.
    """
    information, entropy = mutual_information(codes, factors, bins)
    return float(np.mean(_gap(information) / entropy))


def sap(codes: ArrayLike, factors: ArrayLike, seed: int = 0) -> float:
    """The separated attribute predictability: the gap between the two single codes that predict a factor best.

    Each single code predicts each factor by thresholds, as in the paper for categories; a score is the held-out
    balanced accuracy. Unlike in the paper, it is rescaled so that chance is 0 and perfect is 1: otherwise the gap of a
    factor with two values could not exceed 0.5.

    Args:
        codes: (N, Z).
        factors: (N, F) whole numbers.
        seed: of the split into halves.

    Reference:
        Kumar, Sattigeri, Balakrishnan, Variational Inference of Disentangled Latent Concepts (2018),
        arXiv 1711.00848.
    """
    tree = optional("sklearn.tree", "report", "measure SAP")
    metrics = optional("sklearn.metrics", "report", "measure SAP")
    z, v = paired(codes, factors)
    fit, held = halves(len(z), seed)
    scores = np.zeros((z.shape[1], v.shape[1]))
    for k, factor in enumerate(v.T):
        values = max(2, len(np.unique(factor[fit])))
        for j in range(z.shape[1]):
            thresholds = tree.DecisionTreeClassifier(
                max_leaf_nodes=values, class_weight="balanced", random_state=seed
            ).fit(z[fit, j : j + 1], factor[fit])
            known = np.isin(factor[held], factor[fit])
            truth, guess = factor[held][known], thresholds.predict(z[held, j : j + 1][known])
            if len(np.unique(truth)) > 1:
                recall = metrics.recall_score(truth, guess, labels=np.unique(truth), average="macro")
                chance = 1 / len(np.unique(truth))
                scores[j, k] = max(0.0, (recall - chance) / (1 - chance))
    return float(np.mean(_gap(scores)))


def dci(codes: ArrayLike, factors: ArrayLike, seed: int = 0, trees: int = 20) -> DCI:
    """Disentanglement, completeness and informativeness from the importances of random forests.

    Args:
        codes: (N, Z).
        factors: (N, F) whole numbers.
        seed: of the split into halves and of the forests.
        trees: in each forest; every split considers all codes, so that uninformative codes get no importance.

    Returns:
        The two scores of `dci_scores`, and the mean held-out accuracy.

    Reference:
        Eastwood, Williams, A Framework for the Quantitative Evaluation of Disentangled Representations
        (2018).
    """
    ensemble = optional("sklearn.ensemble", "report", "measure DCI")
    z, v = paired(codes, factors)
    fit, held = halves(len(z), seed)
    importance = np.zeros((z.shape[1], v.shape[1]))
    accuracy = []
    for k, factor in enumerate(v.T):
        forest = ensemble.RandomForestClassifier(
            trees, max_features=None, min_samples_leaf=2, random_state=seed, n_jobs=1
        ).fit(z[fit], factor[fit])
        importance[:, k] = forest.feature_importances_
        accuracy.append(float(forest.score(z[held], factor[held])))
    return DCI(*dci_scores(importance), float(np.mean(accuracy)))


def dci_scores(importance: ArrayLike) -> tuple[float, float]:
    """Disentanglement and completeness of a matrix of importances R, (Z, F).

    ``D = sum_i rho_i (1 - H_F(P_i))`` with P_i row i of R normalised, H_F the entropy to base F and rho_i the
    row's share of all importance; C likewise over columns, to base Z.

    Example:
        >>> dci_scores(np.eye(3))
        (1.0, 1.0)
    """
    matrix = np.abs(np.asarray(importance, dtype=np.float64))
    return _concentration(matrix), _concentration(matrix.T)


def _concentration(matrix: Floats) -> float:
    total = matrix.sum()
    if total == 0:
        return 0.0
    if matrix.shape[1] == 1:
        return 1.0
    entropies = np.array([_entropy(row) if row.sum() else 0.0 for row in matrix])
    shares = matrix.sum(1) / total
    return float(np.sum(shares * (1 - entropies / np.log(matrix.shape[1]))))


def paired(codes: ArrayLike, factors: ArrayLike) -> tuple[Floats, Ints]:
    """Checked codes (N, Z), and the factors that vary (N, F), renumbered from 0."""
    z, v = np.asarray(codes, dtype=np.float64), np.asarray(factors)
    if z.ndim != 2 or v.ndim != 2 or len(z) != len(v) or len(z) < 4:
        raise refuse("codes", (z.shape, v.shape), "codes (N, Z) and factors (N, F) of the same N, at least 4")
    if not np.isfinite(z).all():
        raise refuse("codes", "NaN or infinity", "finite numbers")
    columns = [np.unique(column, return_inverse=True)[1].reshape(-1) for column in v.T]
    varying = [column for column in columns if column.max() > 0]
    if not varying:
        raise refuse("factors", v.shape, "at least one factor that takes more than one value")
    return z, np.stack(varying, 1).astype(np.int64)


def _binned(column: Floats, bins: int) -> Ints:
    """The bin of each value between the column's minimum and maximum, from 0 to bins - 1."""
    low, high = column.min(), column.max()
    if low == high:
        return np.zeros(len(column), dtype=np.int64)
    return np.minimum((column - low) / (high - low) * bins, bins - 1).astype(np.int64)


def _joint(a: Ints, b: Ints) -> Ints:
    return np.bincount(a * (int(b.max()) + 1) + b)


def _entropy(counts: Any) -> float:
    """Entropy in nats of counts or of weights that need not sum to one."""
    p = np.asarray(counts, dtype=np.float64)
    p = p[p > 0] / p.sum()
    return float(-(p * np.log(p)).sum())


def _gap(scores: Floats) -> Floats:
    """Best minus second best of each column; with a single code the second best is 0."""
    ordered = np.sort(scores, 0)
    return ordered[-1] - (ordered[-2] if len(ordered) > 1 else 0.0)


def halves(n: int, seed: int) -> tuple[Ints, Ints]:
    """Row numbers of two random halves of n rows."""
    order = np.random.default_rng(seed).permutation(n)
    return order[: n // 2], order[n // 2 :]
