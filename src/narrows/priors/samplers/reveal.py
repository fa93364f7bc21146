"""Ancestral sampling of masked diffusion: each masked index is revealed with the probability of the time step."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from narrows.priors.samplers.confidence import Predict

__all__ = ["reveal"]


def reveal(predict: Predict, n: int, tokens: int, survival: Sequence[float], device: torch.device) -> Tensor:
    r"""Indices (n, L) from the reverse process, one pass of the network per step.

    .. math:: p(x_s = k \mid x_t = \mathrm{mask}) = \frac{\alpha_s - \alpha_t}{1 - \alpha_t}\, p_k(x_t),\qquad
              p(x_s = \mathrm{mask} \mid x_t = \mathrm{mask}) = \frac{1 - \alpha_s}{1 - \alpha_t}

    An index that is revealed stays. Whether and what is one draw.

    Args:
        predict: logits of all places, given those that are not masked.
        n: how many rows.
        tokens: L.
        survival: the probabilities alpha of an index to be unmasked, from 0 to 1, one more than steps.
        device: where to draw.

    Reference:
        Shi et al., Simplified and Generalized Masked Diffusion for Discrete Data, 2024, section 3. arXiv:2406.04329
    """
    indices = torch.zeros(n, tokens, dtype=torch.long, device=device)
    hidden = torch.ones(n, tokens, dtype=torch.bool, device=device)
    for before, after in pairwise(survival):
        share = (after - before) / (1 - before)
        shares = share * predict(indices, hidden).softmax(-1)
        codes = shares.shape[-1]
        whole = torch.cat([shares, shares.new_full((n, tokens, 1), 1 - share)], -1)
        drawn = torch.multinomial(whole.flatten(0, 1), 1).view(n, tokens)
        shown = hidden & (drawn < codes)
        indices = torch.where(shown, drawn, indices)
        hidden = hidden & ~shown
    return indices
