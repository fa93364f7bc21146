"""Sparse probing: logistic regression on the few columns of a code that separate two classes best."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from narrows.audit.metrics.logistic import STRENGTHS, fit, reduced
from narrows.kernels.principal import principal

__all__ = [
    "Problems",
    "Scores",
    "auc",
    "components",
    "directions",
    "f1",
    "folds",
    "probe",
    "separating",
    "sparse_probes",
    "standardised",
]

_PAIRS, _FEW, _SIXTH, _MOST = 2, 12, 128, 100


class Problems(NamedTuple):
    """Examples of P binary problems of equal size.

    Args:
        train: (P, B, D).
        test: (P, B2, D).
        train_labels: 0 or 1, (P, B).
        test_labels: 0 or 1, (P, B2).
    """

    train: Tensor
    test: Tensor
    train_labels: Tensor
    test_labels: Tensor


class Scores(NamedTuple):
    """Of P probes on their test examples: AUC, accuracy and F1, (P,), and what they say, (P, B2): yes above 0."""

    auc: Tensor
    accuracy: Tensor
    f1: Tensor
    margins: Tensor


def standardised(problems: Problems) -> Problems:
    """The same problems with the mean 0 and the variance 1 of every column over the training examples.

    A constant column is 0.
    """
    mean, spread = problems.train.mean(1, keepdim=True), problems.train.std(1, keepdim=True, correction=0)
    scale = torch.where(spread > 1e-8, 1 / spread.clamp_min(1e-8), torch.zeros_like(spread))
    return problems._replace(train=(problems.train - mean) * scale, test=(problems.test - mean) * scale)


def separating(x: Tensor, y: Tensor, k: int) -> Tensor:
    r"""The k columns with the largest :math:`|\bar x_{y=1} - \bar x_{y=0}|`, largest first, (P, k).

    Args:
        x: (P, B, D).
        y: 0 or 1, (P, B).
        k: at most D.
    """
    yes = y[:, None].to(x.dtype)
    signed = yes / yes.sum(2, keepdim=True) - (1 - yes) / (1 - yes).sum(2, keepdim=True)
    difference = (signed @ x)[:, 0]
    return difference.abs().argsort(dim=1, descending=True, stable=True)[:, :k]


def folds(y: Tensor) -> Tensor:
    """The examples that validate the penalty, (F, P, B) bool, from the labels of the training examples (P, B).

    Every pair of up to 12 examples; six folds of up to 127; else the last fifth, at most 100.
    """
    problems, count = y.shape
    if count <= _FEW:
        pairs = torch.tensor(list(combinations(range(count), _PAIRS)))
        return (
            torch.zeros(len(pairs), count, dtype=torch.bool)
            .scatter_(1, pairs, True)[:, None]
            .expand(-1, problems, -1)
        )
    if count < _SIXTH:
        rank = torch.zeros_like(y)
        for value in (0, 1):
            here = y == value
            rank[here] = ((here.cumsum(1) - 1) % 6)[here]
        return torch.stack([rank == fold for fold in range(6)])
    held = min(count // 5, _MOST)
    return (torch.arange(count) >= count - held).expand(1, problems, count)


def probe(problems: Problems) -> Scores:
    """Logistic regression with the penalty that has the best AUC on validation examples.

    Of penalties that are equally good, the weakest is taken. The final fit uses all training examples.

    Args:
        problems: standardised; their training examples in random order.
    """
    weights, bias = _validated(problems.train, problems.train_labels)
    margin = (problems.test @ weights[..., None])[..., 0] + bias[:, None]
    said = margin > 0
    truth = problems.test_labels.bool()
    right = (said == truth).to(margin.dtype).mean(1)
    return Scores(auc(margin, problems.test_labels), right, f1(truth, said), margin)


def directions(problems: Problems) -> tuple[Tensor, Tensor]:
    """Weights (P, D) and biases (P,) of probes, for examples that are not standardised.

    As in `probe`, the penalty is chosen on validation examples; the test examples are not read.

    Args:
        problems: in the units in which the probe is to be used.
    """
    scaled = standardised(problems)
    slope, bias = _validated(scaled.train, problems.train_labels)
    mean = problems.train.mean(1)
    spread = problems.train.std(1, correction=0)
    weights = torch.where(spread > 1e-8, slope / spread.clamp_min(1e-8), torch.zeros_like(spread))
    return weights, bias - (weights * mean).sum(1)


def _validated(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The fit to all examples with the penalty that is best on validation examples: (P, D) and (P,)."""
    found, held = reduced(x), folds(y)
    count = len(held)
    z, labels, scale = (t.repeat(count, *[1] * (t.ndim - 1)) for t in (found.x, y, found.scale))
    out = held.flatten(0, 1)
    fitted = fit(z, labels, STRENGTHS, ~out, scale)
    margins = torch.baddbmm(fitted[:, -1:], z, fitted[:, :-1])
    value = auc(margins.mT, labels[:, None], out[:, None]).unflatten(0, (count, -1))
    best = value.nanmean(0).nan_to_num(0.5).argmax(1)
    chosen = torch.tensor(STRENGTHS, dtype=x.dtype)[best][:, None]
    first = fitted.unflatten(0, (count, -1))[0]
    start = first.gather(2, best[:, None, None].expand(-1, first.shape[1], 1))
    final = fit(found.x, y, chosen, None, found.scale, start)
    return found.weights(final[:, :-1])[..., 0], final[:, -1, 0]


def sparse_probes(problems: Problems, ks: Sequence[int]) -> dict[int, Scores]:
    """The probes of the k columns that separate the classes best, for several k, fitted together.

    Args:
        problems: standardised.
        ks: numbers of columns; those above D count as D.
    """
    problems_count, _, width = problems.train.shape
    order = separating(problems.train, problems.train_labels, min(max(ks), width))
    parts = []
    for x in (problems.train, problems.test):
        chosen = x.gather(2, order[:, None].expand(-1, x.shape[1], -1))
        parts.append(torch.cat([chosen * (torch.arange(order.shape[1]) < k) for k in ks]))
    labels = [y.repeat(len(ks), 1) for y in problems[2:]]
    found = probe(Problems(parts[0], parts[1], *labels))
    return {
        k: Scores(*(t.unflatten(0, (len(ks), problems_count))[at] for t in found)) for at, k in enumerate(ks)
    }


def components(problems: Problems, count: int) -> Problems:
    """The first principal components of the training examples in place of the columns, standardised."""
    axes = torch.stack([principal(x, min(count, x.shape[1])).axes.to(x.dtype) for x in problems.train]).mT
    return standardised(problems._replace(train=problems.train @ axes, test=problems.test @ axes))


def auc(scores: Tensor, y: Tensor, counts: Tensor | None = None) -> Tensor:
    """The chance that an example of class 1 has a larger score than one of class 0; a tie counts half, (...).

    Args:
        scores: (..., B).
        y: 0 or 1, broadcastable to (..., B).
        counts: whether an example counts, broadcastable to (..., B).

    Returns:
        NaN where a class has no example.

    Example:
        >>> auc(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1]))
        tensor(0.7500)
    """
    counts = torch.ones_like(scores, dtype=torch.bool) if counts is None else counts.expand_as(scores)
    yes, no = (y == 1).expand_as(scores) & counts, (y == 0).expand_as(scores) & counts
    below = torch.where(no, scores, scores.new_full((), torch.inf)).sort(-1).values
    rank = torch.searchsorted(below, scores.contiguous()) + torch.searchsorted(
        below, scores.contiguous(), right=True
    )
    return (rank * yes).sum(-1) / (2 * yes.sum(-1) * no.sum(-1)).to(scores.dtype)


def f1(truth: Tensor, said: Tensor) -> Tensor:
    """The harmonic mean of precision and recall of each row, (P,), from booleans (P, B)."""
    both, either = (truth & said).sum(1), truth.sum(1) + said.sum(1)
    return 2 * both / either.clamp_min(1)
