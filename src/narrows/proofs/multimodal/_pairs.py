"""Images and labels as two modalities, made small; what the proofs of multimodal methods share."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F

from narrows.core import Spec
from narrows.core.check import RequestError
from narrows.data.dataset import Dataset, Source
from narrows.data.scaling import Scaling
from narrows.data.views import ViewsDataset
from narrows.proofs.reduced import Reduced, reduced

__all__ = ["Pairs", "joined", "pairs"]


class Pairs(NamedTuple):
    """A training and a test part with the modalities `image` and `label`, and what an example looks like."""

    train: ViewsDataset
    test: ViewsDataset
    spec: Spec
    classes: int


def pairs(source: Source, rows: int) -> Pairs:
    """Reduced images and their labels.

    Args:
        source: labelled images.
        rows: training examples at most.

    Raises:
        RequestError: there are no labels.
    """
    if source.train.labels is None:
        raise RequestError(f"`{source.name}` has no labels; the proof needs them.")
    data, classes = reduced(source, rows=rows), source.train.classes
    spec = Spec((1,), "categories", classes=classes)
    both = Spec((), kind="views", parts={"image": replace(data.spec, classes=0), "label": spec})
    return Pairs(_part(data.train), _part(data.test), both, classes)


def _part(images: Dataset) -> ViewsDataset:
    assert images.labels is not None
    labels = Dataset(images.labels[:, None], Scaling(), (1,))
    return ViewsDataset.of({"image": images, "label": labels}, torch.ones(len(images), 2, dtype=torch.bool))


def joined(data: Pairs) -> tuple[Reduced, Spec]:
    """Both modalities in one vector, the label one-hot."""
    parts = []
    for part in (data.train, data.test):
        images, labels = part.parts["image"].all().x, part.parts["label"].all().x
        hot = F.one_hot(labels[:, 0].long(), data.classes).float()
        x = torch.cat([images.flatten(1), hot], 1)
        parts.append(Dataset(x, Scaling(), tuple(x.shape[1:])))
    spec = Spec(parts[0].shape, "binary")
    return Reduced(parts[0], parts[1], spec), spec
