"""Parallel decoding: all masked places are drawn at once, and the least confident are masked again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["Propose", "masked_after", "unmask"]

Propose: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Draws of the masked places, and their log probabilities (n, L), from symbols (n, L, ...) and where they are masked,
(n, L) of bool. What is not masked comes back as it was, with a log probability of infinity."""


def masked_after(step: int, steps: int, tokens: int, masked: int) -> int:
    r"""How many of L places stay masked after step k of T, on the cosine schedule; at least one is settled a step.

    .. math:: m_k = \min\big(\lfloor \cos(\tfrac{\pi}{2} \tfrac kT) L \rfloor,\; m_{k-1} - 1\big)

    Args:
        step: k, from 1 to T.
        steps: T.
        tokens: L.
        masked: how many are masked now, m_{k-1}.

    Example:
        >>> [masked_after(k, 4, 16, 16) for k in (1, 2, 3, 4)]
        [14, 11, 6, 0]
    """
    if step >= steps:
        return 0
    return max(0, min(math.floor(math.cos(math.pi * step / (2 * steps)) * tokens), masked - 1))


def unmask(
    propose: Propose,
    n: int,
    shape: Sequence[int],
    steps: int,
    noise: float,
    device: torch.device,
    dtype: torch.dtype = torch.long,
) -> Tensor:
    r"""Begin with everything masked, and settle the most confident draws step by step.

    In step k every masked place is drawn; its confidence is

    .. math:: \log p(x_l) + \tau\,(1 - k/T)\, g_l,\qquad g_l \sim \mathrm{Gumbel}(0, 1)

    The `masked_after` least confident of those just drawn are masked again; what is settled stays. Where a place has a
    stack of indices, p(x_l) is that of the stack.

    Args:
        propose: draws of all masked places, given those that are not.
        n: how many rows.
        shape: of a row: places L, and further axes of a place.
        steps: T; not more than L of them do anything.
        noise: tau; 0 settles the likeliest draws.
        device: where to draw.
        dtype: of the symbols, by default indices.

    Returns:
        Symbols (n, *shape).

    Reference:
        Chang et al., MaskGIT: Masked Generative Image Transformer, 2022, section 3.2. arXiv:2202.04200
    """
    tokens = shape[0]
    symbols = torch.zeros(n, *shape, dtype=dtype, device=device)
    hidden = torch.ones(n, tokens, dtype=torch.bool, device=device)
    masked, steps = tokens, min(steps, tokens)
    for step in range(1, steps + 1):
        symbols, sure = propose(symbols, hidden)
        masked = masked_after(step, steps, tokens, masked)
        if not masked:
            break
        gumbel = -torch.empty_like(sure).exponential_().clamp_min(1e-20).log()
        sure = sure + noise * (1 - step / steps) * gumbel
        again = sure.topk(masked, -1, largest=False).indices
        hidden = torch.zeros_like(hidden).scatter(-1, again, True)
    return symbols
