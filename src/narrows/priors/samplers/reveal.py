"""Ancestral sampling of masked diffusion: each masked index is revealed with the probability of the time step."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from narrows.priors.samplers.confidence import Propose

__all__ = ["reveal"]


def reveal(
    propose: Propose, n: int, shape: Sequence[int], survival: Sequence[float], device: torch.device
) -> Tensor:
    r"""Symbols (n, *shape) from the reverse process, one pass of the network per step.

    .. math:: p(x_s = k \mid x_t = \mathrm{mask}) = \frac{\alpha_s - \alpha_t}{1 - \alpha_t}\, p_k(x_t),\qquad
              p(x_s = \mathrm{mask} \mid x_t = \mathrm{mask}) = \frac{1 - \alpha_s}{1 - \alpha_t}

    What is revealed stays.

    Args:
        propose: draws of all masked places, given those that are not.
        n: how many rows.
        shape: of a row: places L, and further axes of a place.
        survival: the probabilities alpha of a place to be unmasked, from 0 to 1, one more than steps.
        device: where to draw.

    Reference:
        Shi et al., Simplified and Generalized Masked Diffusion for Discrete Data, 2024, section 3. arXiv:2406.04329
    """
    symbols = torch.zeros(n, *shape, dtype=torch.long, device=device)
    hidden = torch.ones(n, shape[0], dtype=torch.bool, device=device)
    for before, after in pairwise(survival):
        if not bool(hidden.any()):
            break
        drawn, _ = propose(symbols, hidden)
        shown = hidden & (torch.rand(hidden.shape, device=device) < (after - before) / (1 - before))
        symbols = torch.where(shown.view(*shown.shape, *[1] * (len(shape) - 1)), drawn, symbols)
        hidden = hidden & ~shown
    return symbols
