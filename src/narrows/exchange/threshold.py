"""TopK as JumpReLU: one threshold for all latents, at which L0 stays k on average."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from narrows import data as nd
from narrows.core.check import RequestError
from narrows.exchange.description import Description
from narrows.exchange.model import build
from narrows.kernels.sparse import LazyLinear

__all__ = ["activations", "threshold_of", "thresholded"]

_ROWS = 65_536
"""Number of examples that decide a threshold, at most."""
_CHUNK = 1024


def activations(data: Any, description: Description) -> Tensor:
    """Training examples as the inputs of a dictionary, (B, D), in the units of the data.

    Raises:
        RequestError: they have another width than the dictionary.
    """
    source = nd.open(data, scale="none", limit=_ROWS)
    rows = source.train.batch(slice(0, min(len(source.train), _ROWS)), ()).x
    assert isinstance(rows, Tensor)
    width = rows.shape[1:].numel()
    if width != description.width:
        raise RequestError(
            f"The activations have {width} numbers each, and the dictionary reads {description.width}. "
            "Give activations of the place that it was trained for."
        )
    return rows.reshape(len(rows), -1).float()


@torch.no_grad()
def thresholded(description: Description, x: Tensor) -> Description:
    r"""A TopK with the threshold of a JumpReLU instead: the k B-th largest pre-activation of B examples.

    .. math:: z = h\, 1[h > \theta], \qquad \theta = \text{the } k B\text{-th largest of } h_{bn}

    L0 is k on average over the examples, no longer for each of them. An example with much to represent gets more
    latents, so the error is usually lower.

    Args:
        description: a TopK autoencoder or transcoder.
        x: examples, (B, D), the more the better: the threshold is a quantile of their pre-activations.

    Raises:
        RequestError: another activation than TopK over all latents.

    Reference:
        He et al., Llama Scope, 2024, section 3. arXiv:2410.20526
    """
    if (
        description.activation != "topk"
        or description.options.get("groupmax")
        or description.kind == "cross-layer"
    ):
        raise RequestError(
            f"A threshold replaces the selection of a TopK over all latents; this is a {description.title}."
        )
    model = build(description)

    def pre(chunk: Tensor) -> Tensor:
        h = model.encoder(chunk)
        h = h[0] if isinstance(h, tuple) else h
        return h.dense() if isinstance(h, LazyLinear) else h

    theta = threshold_of((pre(chunk) for chunk in x.split(_CHUNK)), description.k * len(x))
    tensors = {**description.tensors, "threshold": torch.full((description.latents,), theta)}
    options = {name: value for name, value in description.options.items() if name != "threshold"}
    promises = {**description.promises, "l0": float(description.k)}
    return replace(
        description, activation="jumprelu", tensors=tensors, k=0, options=options, promises=promises
    )


def threshold_of(chunks: Iterable[Tensor], count: int) -> float:
    """The value that exactly `count` positive numbers exceed, unless fewer are positive; then 0.

    Args:
        chunks: pre-activations, in parts.
        count: k B.

    Example:
        >>> threshold_of([torch.tensor([3.0, -1.0]), torch.tensor([2.0, 1.0])], 2)
        1.0
    """
    best = torch.zeros(0)
    for chunk in chunks:
        best = torch.cat([best, chunk.flatten()[chunk.flatten() > (best[-1] if len(best) > count else 0)]])
        best = best.topk(min(count + 1, len(best))).values
    return float(best[count]) if len(best) > count else 0.0
