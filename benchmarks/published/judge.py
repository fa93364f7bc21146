"""The judge of both libraries' models: it imports neither of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["error", "nll"]

CHUNK = 25


@torch.no_grad()
def nll(weigh: Callable[[Tensor, int], Tensor], x: Tensor, samples: int) -> float:
    """The mean of -log (1/K) sum_k p(x, z_k) / q(z_k | x), nats.

    Args:
        weigh: log-weights (K, B) of K new draws, from images (B, 1, 28, 28) and K.
        x: binary images.
        samples: K in total.
    """
    found = []
    for part in x.split(100):
        weights = [weigh(part, min(CHUNK, samples - start)) for start in range(0, samples, CHUNK)]
        found.append(math.log(samples) - torch.cat(weights).double().logsumexp(0))
    return float(torch.cat(found).mean())


@torch.no_grad()
def error(reconstruct: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """The mean over images of the squared error, summed over pixels."""
    return float(
        torch.cat([(reconstruct(part) - part).square().flatten(1).sum(1) for part in x.split(100)]).mean()
    )
