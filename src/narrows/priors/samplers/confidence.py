"""Parallel decoding: all masked places are drawn at once, and the least confident are masked again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from narrows.priors.samplers.ancestral import draw

__all__ = ["Predict", "masked_after", "unmask"]

Predict: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Logits (n, L, K) from indices (n, L) and where they are masked, (n, L) of bool."""


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


def unmask(predict: Predict, n: int, tokens: int, steps: int, noise: float, device: torch.device) -> Tensor:
    r"""Begin with everything masked, and settle the most confident draws step by step.

    In step k every masked place is drawn; its confidence is

    .. math:: \log p(x_l) + \tau\,(1 - k/T)\, g_l,\qquad g_l \sim \mathrm{Gumbel}(0, 1)

    The `masked_after` least confident of those just drawn are masked again; what is settled stays.

    Args:
        predict: logits of all places, given those that are not masked.
        n: how many rows.
        tokens: L.
        steps: T; not more than L of them do anything.
        noise: tau; 0 settles the likeliest draws.
        device: where to draw.

    Returns:
        Indices (n, L).

    Reference:
        Chang et al., MaskGIT: Masked Generative Image Transformer, 2022, section 3.2. arXiv:2202.04200
    """
    indices = torch.zeros(n, tokens, dtype=torch.long, device=device)
    hidden = torch.ones(n, tokens, dtype=torch.bool, device=device)
    masked, steps = tokens, min(steps, tokens)
    for step in range(1, steps + 1):
        logits = predict(indices, hidden)
        drawn = draw(logits)
        indices = torch.where(hidden, drawn, indices)
        masked = masked_after(step, steps, tokens, masked)
        if not masked:
            break
        sure = logits.log_softmax(-1).gather(-1, drawn[..., None])[..., 0]
        gumbel = -torch.empty_like(sure).exponential_().clamp_min(1e-20).log()
        sure = sure + noise * (1 - step / steps) * gumbel
        sure = sure.masked_fill(~hidden, torch.inf)
        again = sure.topk(masked, -1, largest=False).indices
        hidden = torch.zeros_like(hidden).scatter(-1, again, True)
    return indices
