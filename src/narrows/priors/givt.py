"""GIVT: a causal transformer over tokens of real numbers, with a mixture of Gaussians for each."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Condition, Symbols
from narrows.core.check import positive
from narrows.priors.heads.mixture import Mixture
from narrows.priors.real import RealTokens
from narrows.priors.sequence import Sequence

__all__ = ["GIVT"]


class GIVT(RealTokens, Sequence):
    r"""An autoregressive prior over tokens of real numbers, without a codebook.

    .. math:: p(x_1 \ldots x_L) = \prod_l p(x_l \mid h_l(x_1 \ldots x_{l-1})),\qquad
              p(x_l \mid h_l) = \sum_{i=1}^k \pi_i(h_l)\, N(x_l;\, m_i(h_l), \Sigma_i(h_l))

    h_l is the output of a causal transformer, which reads tokens by a linear map, and a start token that encodes the
    labels. The density is exact. Tokens are standardised with mean and deviation of each channel (of a vector, of each
    number).

    Args:
        components: Gaussians of a token's mixture, k.
        covariance: ``diagonal`` or ``full``.

    Raises:
        RequestError: the symbols are not real numbers, or an option is out of range.

    Example:
        >>> prior = GIVT(Symbols((9, 4)), width=8, depth=1, heads=2)
        >>> prior.sample(2).shape, prior.nll(torch.zeros(3, 9, 4)).shape
        (torch.Size([2, 9, 4]), torch.Size([3]))

    Reference:
        Tschannen, Eastwood, Mentzer, GIVT: Generative Infinite-Vocabulary Transformers, 2023. arXiv:2312.02116
    """

    head: Mixture

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        components: int = 16,
        covariance: Literal["diagonal", "full"] = "diagonal",
        draws: bool = True,
        labels: bool = False,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
    ) -> None:
        length, channels = self.shape_of(symbols)
        super().__init__(
            symbols,
            classes,
            labels,
            draws,
            tokens=length,
            embed=lambda: nn.Linear(channels, width),
            head=lambda: Mixture(width, channels, components, covariance),
            width=width,
            depth=depth,
            heads=heads,
        )

    def token_nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of each token given those before it, in nats, (B, L)."""
        return super().token_nll(symbols, condition) + self.scale.log().view(self.shape).sum(-1)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition = NO_CONDITION,
        *,
        temperature: float = 1.0,
        guidance: float = 1.0,
    ) -> Tensor:
        """n codes (n, *shape), token by token with cached keys and values. `narrows.priors.SAMPLING` explains guidance.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G); where the prior is told labels and none are given, drawn as
                often as in training.
            temperature: factor of the deviations of the Gaussians; below 1 likely codes are drawn more often.
        """
        positive("temperature", temperature)
        return self.generate(
            n,
            condition,
            guidance,
            lambda h: self.head.draw(h, temperature=temperature, guidance=guidance),
        )
