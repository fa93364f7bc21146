"""Draws from a softmax with temperature, top-k and top-p."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from narrows.core.check import number, positive, refuse, whole
from narrows.priors.labels import guided

__all__ = ["Choose", "chooser", "draw", "keep_nucleus", "keep_top", "sharpened"]

Choose: TypeAlias = Callable[[Tensor], Tensor]
"""Draws an index for each row of logits, (R, ..., K) -> (R, ...)."""


def keep_top(logits: Tensor, k: int) -> Tensor:
    """Set all but the k largest logits of each row to -inf; no change if k is 0.

    Example:
        >>> keep_top(torch.tensor([1.0, 3.0, 2.0]), 2)
        tensor([-inf, 3., 2.])
    """
    if not 0 < k < logits.shape[-1]:
        return logits
    values, where = logits.topk(k)
    return torch.full_like(logits, -torch.inf).scatter(-1, where, values)


def keep_nucleus(logits: Tensor, p: float) -> Tensor:
    """Keep the smallest set of largest logits with total probability p, and set others to -inf; no change if p is 1.

    Example:
        >>> keep_nucleus(torch.tensor([0.6, 0.1, 0.3]).log(), 0.7).exp()
        tensor([0.6000, 0.0000, 0.3000])

    Reference:
        Holtzman et al., The Curious Case of Neural Text Degeneration, 2019. arXiv:1904.09751
    """
    if p >= 1:
        return logits
    values, where = logits.sort(-1, descending=True)
    shares = values.softmax(-1)
    before = shares.cumsum(-1) - shares
    return torch.full_like(logits, -torch.inf).scatter(-1, where, values.masked_fill(before >= p, -torch.inf))


def sharpened(logits: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Logits (..., K) over the temperature, then the `top_k` likeliest of them, then the nucleus `top_p`.

    Raises:
        RequestError: a temperature that is not above 0, a negative `top_k`, a `top_p` outside (0, 1].
    """
    positive("temperature", temperature, "The likeliest code alone: ``top_k=1``.")
    if not 0 < number("top_p", top_p) <= 1:
        raise refuse("top_p", top_p, "above 0 and at most 1", "1 draws from all codes.")
    logits = keep_top(logits / temperature, whole("top_k", top_k, low=0))
    return keep_nucleus(logits, top_p)


def draw(logits: Tensor) -> Tensor:
    """One index a row of logits: (..., K) -> (...), by inversion, with one random number a row.

    Sums are in float64, on Apple's GPUs, which have none, in float32.
    """
    precise = torch.float32 if logits.device.type == "mps" else torch.float64
    shares = logits.to(precise).softmax(-1).cumsum(-1)
    total = shares[..., -1:]
    at = torch.minimum(torch.rand_like(total) * total, total.nextafter(torch.zeros_like(total)))
    found = torch.searchsorted(shares, at, right=True)  # right: codes of probability 0 are passed over
    return found.squeeze(-1)


def chooser(guidance: float = 1.0, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Choose:
    """The draw of an index from logits with the options of `narrows.priors.SAMPLING`.

    With guidance, the rows of logits are those with labels, then those without, (2n, ..., K), and the drawn indices
    are returned for both, (2n, ...).
    """
    copies = 1 if guidance == 1 else 2

    def choose(logits: Tensor) -> Tensor:
        return torch.cat([draw(sharpened(guided(logits, guidance), temperature, top_k, top_p))] * copies)

    return choose
