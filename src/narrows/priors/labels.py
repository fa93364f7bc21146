"""Priors conditioned on labels: dropout of labels in training, and classifier-free guidance."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.core import Autoencoder, Batch, Condition, Prior, Symbols
from narrows.core.check import number, refuse, whole
from narrows.priors import require

__all__ = [
    "DROP",
    "LabelledPrior",
    "classes_told",
    "dropped",
    "guided",
    "labels_of",
    "with_unlabelled",
]

DROP = 0.1
"""Fraction of training rows without labels, so that the unconditional distribution is learned too."""


class LabelledPrior(Prior):
    """Base class of priors, optionally conditioned on labels.

    Args:
        symbols: what a code is.
        classes: how many labels the data have.
        labels: whether the prior is told them.

    Raises:
        RequestError: the prior does not support the symbols, or the data have no labels.
    """

    symbols: Symbols
    shares: Tensor

    def __init__(self, symbols: Symbols, classes: int, labels: bool) -> None:
        super().__init__()
        require(symbols, type(self))
        self.symbols = symbols
        self.classes = classes_told(labels, classes)
        self.conditions = ("labels",) if labels else ()
        if self.classes:
            self.register_buffer("shares", torch.full((self.classes,), 1 / self.classes))

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Count how often each label is in the training data, of which labels are drawn."""
        if self.classes:
            labels = self.known(batch.condition, len(batch.x))
            assert labels is not None
            self.shares.copy_(labels.float().mean(0))

    def known(self, condition: Condition, n: int) -> Tensor | None:
        """The labels of n rows, (n, G); None for an unconditional prior.

        Without labels None too, except in training: the prior then models all classes together (see `DROP`).

        Raises:
            RequestError: in training there are no labels.
        """
        labels = labels_of(condition, n, self.classes)
        if labels is None and self.classes and self.training:
            raise refuse("labels", None, f"one-hot labels of shape {(n, self.classes)}")
        return labels

    def told(self, condition: Condition, n: int) -> Tensor | None:
        """As `known`, with dropout in training."""
        return dropped(self.known(condition, n), self.training)

    def asked(self, condition: Condition, n: int, guidance: float, device: torch.device) -> Tensor | None:
        """The labels of n draws, given or drawn; with guidance the same rows without labels follow, (2n, G)."""
        if self.classes and "labels" not in condition:
            rows = torch.multinomial(self.shares, n, replacement=True)
            condition = {"labels": F.one_hot(rows, self.classes).to(device)}
        return with_unlabelled(labels_of(condition, n, self.classes), guidance)


def classes_told(labels: bool, classes: int) -> int:
    """The number of classes of a conditional prior, 0 for an unconditional one.

    Args:
        labels: whether it shall be told.
        classes: how many classes the data have.

    Raises:
        RequestError: the data have no labels.
    """
    if labels and not classes:
        raise refuse("labels", labels, "left out", "The data have no labels.")
    return whole("classes", classes) if labels else 0


def labels_of(condition: Condition, n: int, classes: int) -> Tensor | None:
    """The one-hot labels (n, G) of a condition; None for an unconditional prior, or if there are no labels.

    Without labels, a prior that is told some models all classes together: see `DROP`.

    Args:
        condition: by name; ``labels`` is read.
        n: how many rows.
        classes: G, 0 for a prior that is told none.

    Raises:
        RequestError: the labels have another shape.
    """
    labels = condition.get("labels") if classes else None
    if labels is not None and tuple(labels.shape) != (n, classes):
        raise refuse("labels", tuple(labels.shape), f"one-hot labels of shape {(n, classes)}")
    return labels


def dropped(labels: Tensor | None, training: bool) -> Tensor | None:
    """Labels, in training with a fraction `DROP` of the rows set to zero."""
    if labels is None or not training:
        return labels
    kept = torch.rand(len(labels), 1, device=labels.device) >= DROP
    return labels * kept


def with_unlabelled(
    labels: Tensor | None, guidance: float, fix: str = "Fit one that is: --prior NAME:labels=yes."
) -> Tensor | None:
    """With guidance, the labels followed by the same number of rows of zeros; otherwise the labels.

    Args:
        labels: one-hot, (n, G); None for an unconditional prior.
        guidance: w.
        fix: what to do where there are none.

    Raises:
        RequestError: guidance for an unconditional prior.
    """
    if number("guidance", guidance, low=0) == 1:
        return labels
    if labels is None:
        raise refuse("guidance", guidance, "1 where a prior is told no labels", fix)
    return torch.cat([labels, torch.zeros_like(labels)])


def guided(both: Tensor, guidance: float) -> Tensor:
    r"""Classifier-free guidance, of predictions with labels, c, and without, u: u + w (c - u).

    Args:
        both: c, then u, (2n, ...); where w = 1, c alone, (n, ...).
        guidance: w; 1 is none.

    Example:
        >>> guided(torch.tensor([3.0, 1.0]), 2.0)
        tensor([5.])

    Reference:
        Ho and Salimans, Classifier-Free Diffusion Guidance, 2022. arXiv:2207.12598. Their w is ours less 1.
    """
    if guidance == 1:
        return both
    with_labels, without = both.chunk(2)
    return without + guidance * (with_labels - without)
