"""A codebook whose codes have learned masses, for transport between tokens and codes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from narrows.bottlenecks.discrete.codebooks.base import Codebook

__all__ = ["WeightedCodebook"]


class WeightedCodebook(Codebook):
    r"""Codes with masses, all learned by gradient descent on a term of the objective.

    .. math:: \sum_k \pi_k \delta_{e_k},\qquad \pi = \mathrm{softmax}(s)

    It has no costs of its own: see `narrows.objectives.transport.CodeTransport`. The masses start even.

    Args:
        codes: the number of codes, K.
        width: of a code, d.

    Raises:
        RequestError: a size that is not an integer of at least 1.

    Example:
        >>> WeightedCodebook(4, 2).masses
        tensor([0.2500, 0.2500, 0.2500, 0.2500], grad_fn=<SoftmaxBackward0>)
    """

    codebook: Tensor

    def __init__(self, codes: int, width: int) -> None:
        super().__init__(codes, width)
        self.codebook = nn.Parameter(torch.randn(self.codes, self.width) * self.width**-0.5)
        self.scores = nn.Parameter(torch.zeros(self.codes))

    @property
    def masses(self) -> Tensor:
        """The masses pi of the codes, (K,)."""
        return self.scores.softmax(0)

    def costs(self, tokens: Tensor, q: Tensor, weight: Tensor | None = None) -> Mapping[str, Tensor]:
        """None: the objective has the transport."""
        return {}
