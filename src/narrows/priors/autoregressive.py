"""A causal transformer over the indices of a quantised code."""

from __future__ import annotations

import math

from torch import Tensor, nn

from narrows.core import Symbols
from narrows.priors.heads.softmax import Softmax
from narrows.priors.samplers.ancestral import Choose
from narrows.priors.sequence import IndexSequence

__all__ = ["Autoregressive"]


class Autoregressive(IndexSequence):
    r"""An autoregressive prior over indices, optionally conditioned on labels.

    .. math:: p(k_1 \ldots k_L) = \prod_l p(k_l \mid k_1 \ldots k_{l-1}),\quad
              p(k_l \mid \cdot) = \mathrm{softmax}(W h_l)

    h_l is the transformer's output for a start token, which encodes the label, and k_1 to k_{l-1}. Several indices per
    position are flattened into one sequence.

    Raises:
        RequestError: the symbols are not indices, or an option is out of range.

    Example:
        >>> prior = Autoregressive(Symbols((9,), codes=16), width=8, heads=2)
        >>> prior.sample(2).shape, prior.nll(torch.zeros(3, 9, dtype=torch.long)).shape
        (torch.Size([2, 9]), torch.Size([3]))

    Reference:
        Van den Oord et al., Neural Discrete Representation Learning, 2017, section 3.3 (with a PixelCNN).
        arXiv:1711.00937. With a transformer: Esser et al., Taming Transformers, 2021. arXiv:2012.09841
    """

    head: Softmax

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        labels: bool = False,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
    ) -> None:
        codes = symbols.codes
        super().__init__(
            symbols,
            classes,
            labels,
            tokens=math.prod(symbols.shape),
            embed=lambda: nn.Embedding(codes, width),
            head=lambda: Softmax(width, codes),
            width=width,
            depth=depth,
            heads=heads,
        )

    def arrange(self, symbols: Tensor) -> Tensor:
        """Indices (B, *shape) as one sequence (B, L)."""
        return symbols.flatten(1)

    def forward(self, indices: Tensor, labels: Tensor | None = None) -> Tensor:
        """The logits of each index given the previous ones: (B, L) -> (B, L, K)."""
        return self.head(self.net(indices, labels))

    def draw(self, h: Tensor, choose: Choose) -> Tensor:
        """An index for each row of h (R, W)."""
        return self.head.draw(h, choose)
