"""Data of reduced size for proofs: fewer rows, fewer pixels, binary pixels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from narrows.core import Spec
from narrows.data import Dataset, Source
from narrows.data.scaling import Scaling

__all__ = ["Reduced", "independent_nll", "reduced"]

_SMALLEST = 16
"""Images with a shorter side are not pooled."""


class Reduced(NamedTuple):
    """A training and a test part, and what one example looks like."""

    train: Dataset
    test: Dataset
    spec: Spec


def reduced(source: Source, *, rows: int, tests: int = 1000, pool: int = 2, binary: bool = True) -> Reduced:
    """Some examples of a source, images averaged over `pool` x `pool` pixels, values from 0 to 1 binarised.

    A pixel is 1 where its value, after averaging, is above one half. Drawing it at random with that probability,
    as papers on likelihoods do for whole images, would leave mostly noise after averaging. Real values stay.

    Args:
        source: the data.
        rows: training examples at most, drawn from all.
        tests: test examples at most.
        pool: pixels a side that become one; images of less than 16 pixels a side are left alone.
        binary: binarise values from 0 to 1.
    """
    spec = source.spec
    if pool > 1 and len(spec.shape) == 3 and min(spec.shape[1:]) >= _SMALLEST:
        channels, height, width = spec.shape
        spec = replace(spec, shape=(channels, height // pool, width // pool))
    binary = binary and spec.values == "unit"
    if binary:
        spec = replace(spec, values="binary")
    train, test = (
        _part(part, n, spec.shape, pool, binary) for part, n in ((source.train, rows), (source.test, tests))
    )
    return Reduced(train, test, spec)


def _part(part: Dataset, rows: int, shape: tuple[int, ...], pool: int, binary: bool) -> Dataset:
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(0))
    chosen = order[:rows].sort().values
    x = part.batch(chosen).x
    if x.shape[1:] != shape:
        x = F.avg_pool2d(x, pool)
    if binary:
        x = (x > 0.5).float()
    labels = None if part.labels is None else part.labels[chosen]
    factors = None if part.factors is None else part.factors[chosen]
    return replace(
        part, x=x, scaling=Scaling(), shape=shape, labels=labels, factors=factors, channels_last=False
    )


def independent_nll(train: Tensor, test: Tensor, spec: Spec) -> float:
    """The mean -log p(x) of test examples, nats, when every element is modelled on its own.

    Args:
        train: what the elements' frequencies (or means and variances) are taken from, (N, ...).
        test: (M, ...).
        spec: what one example looks like.
    """
    mean = train.mean(0)
    if spec.values == "real":
        variance = train.var(0).clamp(min=1e-6)
        terms = 0.5 * ((test - mean).square() / variance + (2 * math.pi * variance).log())
    else:
        chance = mean.clamp(1e-3, 1 - 1e-3)
        terms = -(test * chance.log() + (1 - test) * (1 - chance).log())
    return float(terms.flatten(1).sum(1).mean())
