"""Disentanglement scores from information: modularity and explicitness, and InfoMEC."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.audit.metrics.disentanglement import halves, mutual_information, paired
from narrows.core.check import optional

__all__ = ["InfoMEC", "explicitness", "infomec", "infomec_scores", "modularity", "modularity_score"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_NEIGHBOURS = 10
_ACTIVE = 1 / 20
"""A latent is active if its range is more than this share of the largest range."""

_FEW = 16
"""Latents of at most this number of values are discrete."""


class InfoMEC(NamedTuple):
    """Modularity, explicitness and compactness, each from 0 to 1."""

    modularity: float
    explicitness: float
    compactness: float


def modularity(codes: ArrayLike, factors: ArrayLike, bins: int = 20) -> float:
    """Whether each latent has information on one factor only: `modularity_score` of the mutual information.

    Args:
        codes: (N, Z).
        factors: (N, F) whole numbers.
        bins: intervals of each code's histogram.

    Reference:
        Ridgeway, Mozer, Learning Deep Disentangled Embeddings with the F-Statistic Loss (2018), arXiv 1802.05312.
    """
    return modularity_score(mutual_information(codes, factors, bins)[0])


def modularity_score(information: ArrayLike) -> float:
    r"""The modularity of a matrix of mutual information m, (Z, F).

    .. math:: \frac{1}{Z} \sum_j \left(1 - \frac{\sum_{k \ne k(j)} m_{jk}^2}{(F - 1)\, m_{j k(j)}^2}\right),
              \quad k(j) = \arg\max_k m_{jk}

    A latent without any information counts as 0.

    Example:
        >>> modularity_score(np.eye(3)), modularity_score(np.ones((2, 3)))
        (1.0, 0.0)
    """
    squares = np.square(np.asarray(information, dtype=np.float64))
    best, others = squares.max(1), max(squares.shape[1] - 1, 1)
    informed = best > 0
    spread = (squares.sum(1) - best) / (np.where(informed, best, 1) * others)
    return float(np.where(informed, 1 - spread, 0).mean())


def explicitness(codes: ArrayLike, factors: ArrayLike, seed: int = 0) -> float:
    """How well a linear classifier of the whole code finds each value of each factor.

    The area under the ROC curve of a multinomial logistic regression for each value against the others, on held-out
    examples, averaged over the values of a factor and then over factors.

    Args:
        codes: (N, Z).
        factors: (N, F) whole numbers.
        seed: of the split into halves.

    Returns:
        At most 1; 0.5 by chance.

    Reference:
        Ridgeway, Mozer, Learning Deep Disentangled Embeddings with the F-Statistic Loss (2018), arXiv 1802.05312.
    """
    metrics = optional("sklearn.metrics", "report", "measure explicitness")
    z, v = paired(codes, factors)
    areas = []
    for probability, truth, classes in _predicted(z, v, seed):
        found = [
            metrics.roc_auc_score(truth == one, probability[:, i])
            for i, one in enumerate(classes)
            if 0 < (truth == one).sum() < len(truth)
        ]
        areas.append(np.mean(found) if found else 0.5)
    return float(np.mean(areas))


def infomec(codes: ArrayLike, factors: ArrayLike, seed: int = 0) -> InfoMEC:
    r"""Modularity and compactness from normalised mutual information, and explicitness from predictive information.

    .. math:: \mathrm{NMI}_{jk} = \frac{I(z_j; v_k)}{H(v_k)}, \qquad
              \mathrm{InfoE} = \frac{1}{F} \sum_k \frac{H(v_k) - H_{\mathrm{linear}}(v_k \mid z)}{H(v_k)}

    I is estimated from ten nearest neighbours, or counted where no latent takes more than 16 values; H_linear is the
    cross-entropy of a logistic regression. Unlike in the authors' code it is measured on held-out examples, whose
    marginal is the first term, and a negative difference counts as 0. Latents whose range is a twentieth of the largest
    or less (if counted: that are constant) are not active and left out of the other two.

    Args:
        codes: (N, Z).
        factors: (N, F) whole numbers.
        seed: of the split into halves.

    Returns:
        `infomec_scores` and InfoE; zeros if all latents are constant.

    Reference:
        Hsu, Dorrell, Whittington, Wu, Finn, Disentanglement via Latent Quantization (2023), arXiv 2305.18378.
    """
    z, v = paired(codes, factors)
    width, values = np.ptp(z, 0), [np.unique(column, return_inverse=True)[1] for column in z.T]
    counted = max(int(column.max()) for column in values) < _FEW
    active = width > (0 if counted else width.max() * _ACTIVE)
    if not active.any():
        return InfoMEC(0.0, 0.0, 0.0)
    if counted:  # as many bins as values: each bin is one value
        kept = [column.reshape(-1) for column, moves in zip(values, active, strict=True) if moves]
        found = np.concatenate(
            [mutual_information(column[:, None], v, int(column.max()) + 1)[0] for column in kept]
        )
    else:
        found = _neighbour_information(z[:, active], v, seed)
    entropy = np.array([_cross_entropy(np.bincount(f) / len(f), f) for f in v.T])
    modular, compact = infomec_scores(found / entropy)
    explicit = []
    for probability, truth, classes in _predicted(z, v, seed):
        known = np.isin(truth, classes)
        at = np.searchsorted(classes, truth[known])
        chance = _cross_entropy(np.bincount(at, minlength=len(classes)) / len(at), at)
        loss = -np.log(np.maximum(probability[known][np.arange(len(at)), at], 1e-12)).mean()
        explicit.append(max(0.0, 1 - loss / chance) if chance > 0 else 0.0)
    return InfoMEC(modular, float(np.mean(explicit)), compact)


def infomec_scores(information: ArrayLike) -> tuple[float, float]:
    r"""InfoM and InfoC of a matrix of normalised mutual information, (Z, F).

    .. math:: \mathrm{InfoM} = \left(\frac{1}{Z} \sum_j \frac{\max_k \mathrm{NMI}_{jk}}{\sum_k \mathrm{NMI}_{jk}}
              - \frac{1}{F}\right) \Big/ \left(1 - \frac{1}{F}\right)

    and InfoC likewise with latents and factors exchanged; 1 where there is only one to choose from.

    Example:
        >>> infomec_scores(np.eye(4))
        (1.0, 1.0)
    """
    matrix = np.asarray(information, dtype=np.float64)
    return _largest_share(matrix), _largest_share(matrix.T)


def _largest_share(matrix: Floats) -> float:
    """The mean over rows of the largest entry's share, rescaled so that equal entries give 0; empty rows count as 0."""
    columns, total = matrix.shape[1], matrix.sum(1)
    if columns == 1:
        return 1.0
    share = np.where(total > 0, matrix.max(1) / np.where(total > 0, total, 1), 1 / columns)
    return float((share.mean() - 1 / columns) / (1 - 1 / columns))


def _neighbour_information(z: Floats, v: Ints, seed: int) -> Floats:
    """I(z_j; v_k) in nats from nearest neighbours, (Z, F)."""
    select = optional("sklearn.feature_selection", "report", "measure InfoMEC")
    rows = [select.mutual_info_classif(z, f, n_neighbors=_NEIGHBOURS, random_state=seed) for f in v.T]
    return np.stack(rows, 1)


def _predicted(z: Floats, v: Ints, seed: int) -> list[tuple[Floats, Ints, Ints]]:
    """For each factor the held-out probabilities of its values, the true values, and the values in order."""
    linear = optional("sklearn.linear_model", "report", "measure explicitness")
    fit, held = halves(len(z), seed)
    centre, scale = z[fit].mean(0), z[fit].std(0)
    z = (z - centre) / np.where(scale > 0, scale, 1)
    found: list[tuple[Floats, Ints, Ints]] = []
    for factor in v.T:
        classes = np.unique(factor[fit])
        if len(classes) < 2:
            found.append((np.ones((len(held), 1)), factor[held], classes))
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the solver's iterations
            model: Any = linear.LogisticRegression(C=100.0, max_iter=300).fit(z[fit], factor[fit])
        found.append((model.predict_proba(z[held]), factor[held], classes))
    return found


def _cross_entropy(p: Floats, values: Ints) -> float:
    """Mean of -log p of some values."""
    return float(-np.log(p[values]).mean())
