"""What a prior over codes has learned of the classes: linear probes of its net, layer by layer."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from narrows.audit.evidence.reseeds import spread
from narrows.audit.evidence.view import View, device_of
from narrows.audit.metrics.classes import ridge_probe
from narrows.audit.report.finding import Chart, Check, Finding, Series
from narrows.core import Autoencoder, Batch
from narrows.data.dataset import known_of

__all__ = ["prior_probe", "probed"]

_TRAIN, _TEST, _CHUNK = 1500, 1000, 256
_WIDEST = 4096
"""Largest number of features of a probe: with more, only the mean over tokens is probed."""


class Probed(NamedTuple):
    """The probe of one set of features."""

    validated: float
    """Accuracy on training rows that were held out."""
    right: Tensor
    """Which test examples are right, (N,)."""

    @property
    def accuracy(self) -> float:
        """The share of test examples that are right."""
        return float(self.right.double().mean())


def prior_probe(view: View) -> Finding:
    """The accuracy of classes from the hidden features of a prior's net, beside that from the codes alone."""
    model, train = view.model, view.train
    answers, known = view.labels, known_of(train).labels
    if model.prior is None or train is None or answers is None or known is None or view.elements:
        return Finding()
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(view.seed))[:_TRAIN]
    labels, answers = known[rows].long().cpu(), answers[:_TEST].long().cpu()
    batch = train.batch(rows, model.conditions, device_of(model))
    found = probed(model, batch, labels, view.batch[slice(0, _TEST)], answers)
    if found is None or len(labels.unique()) < 2:
        return Finding()
    codes, *layers = found
    best = max(range(len(layers)), key=lambda i: layers[i].validated)
    share = float((answers == labels.mode().values).double().mean())
    right = layers[best].right.double()
    gain = layers[best].accuracy - codes.accuracy
    says = (
        f"Accuracy of a linear probe of classes on the features of the prior's net after block {best + 1} of "
        f"{len(layers)}, chosen on training examples. The codes alone have {codes.accuracy:.3g}. Chance: the most "
        "frequent class."
    )
    check = Check(
        "probe/prior",
        layers[best].accuracy,
        "of 1",
        "ok" if gain > 0 else "info",
        says,
        chance=share,
        spread=spread(partial(_mean_of, right), len(right), view.seed),
        n=len(right),
    )
    alone = Check(
        "probe/codes",
        codes.accuracy,
        "of 1",
        "info",
        "The same for the codes alone.",
        chance=share,
        spread=spread(partial(_mean_of, codes.right.double()), len(right), view.seed),
        n=len(right),
    )
    figures = (_chart([one.accuracy for one in layers], codes.accuracy),) if len(layers) > 1 else ()
    return Finding((check, alone), figures)


@torch.no_grad()
def probed(
    model: Autoencoder, train: Batch, labels: Tensor, test: Batch, answers: Tensor
) -> list[Probed] | None:
    """Probes of the codes, then of each layer of the prior's net; None if it has no hidden features.

    Each set of features is probed as the mean over tokens, and, if they are not too many, token by token; what is
    better for held-out training rows counts. The prior is not told labels.

    Args:
        model: the model with its prior.
        train: training examples, in random order.
        labels: their classes.
        test: other examples.
        answers: their classes.
    """
    sides = [_features(model, batch) for batch in (train, test)]
    if sides[0] is None or sides[1] is None:
        return None
    return [_better(near, labels, far, answers) for near, far in zip(*sides, strict=True)]


def _features(model: Autoencoder, batch: Batch) -> list[Tensor] | None:
    """The codes (B, L, d), then the hidden features of each layer of the prior's net, (B, L, W)."""
    prior = model.prior
    assert prior is not None
    parts: list[list[Tensor]] = []
    for begin in range(0, len(batch), _CHUNK):
        some = batch[slice(begin, begin + _CHUNK)].to(device_of(model))
        symbols = model.as_symbols(some).x
        hidden = prior.layers(symbols)
        if hidden is None:
            return None
        code = model.bottleneck.from_symbols(symbols).z
        parts.append([code.flatten(2) if code.dim() > 2 else code[:, None], *hidden])
    return [torch.cat(column).float().cpu() for column in zip(*parts, strict=True)]


def _better(near: Tensor, labels: Tensor, far: Tensor, answers: Tensor) -> Probed:
    forms = [(near.mean(1), far.mean(1))]
    if near[0].numel() <= _WIDEST and near.shape[1] > 1:
        forms.append((near.flatten(1), far.flatten(1)))
    return max((Probed(*ridge_probe(a, labels, b, answers)) for a, b in forms), key=lambda one: one.validated)


def _mean_of(each: Tensor, rows: Tensor) -> float:
    return float(each[rows].mean())


def _chart(layers: list[float], codes: float) -> Chart:
    says = "Accuracy of linear probes of classes: of the codes, and of the prior's net after each block."
    blocks = tuple(range(1, len(layers) + 1))
    series = (
        Series("the prior", tuple(layers), blocks),
        Series("codes alone", (codes,) * len(layers), blocks, tone=0),
    )
    return Chart("prior-probe", "Classes in the prior's net", says, "lines", series, "block", "accuracy")
