"""The head of a token that is one index."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from narrows.priors.samplers.ancestral import Choose
from narrows.priors.sequence import Head

__all__ = ["Softmax"]


class Softmax(nn.Linear, Head):
    r"""A softmax over the codebook.

    .. math:: p(k_l \mid h_l) = \mathrm{softmax}(W h_l + b)

    Args:
        width: channels of h, W.
        codes: size of the codebook, K.

    Example:
        >>> import torch
        >>> head = Softmax(8, 16)
        >>> head.nll(torch.zeros(2, 5, 8), torch.zeros(2, 5, dtype=torch.long), nn.Embedding(16, 8)).shape
        torch.Size([2, 5])
    """

    def __init__(self, width: int, codes: int) -> None:
        super().__init__(width, codes)
        nn.init.zeros_(self.bias)

    def weights(self) -> list[Tensor]:
        """The weights of the classifier."""
        return [self.weight]

    def nll(self, h: Tensor, tokens: Tensor, embed: nn.Module) -> Tensor:
        """-log p of indices (B, L), in nats, (B, L)."""
        return F.cross_entropy(self(h).transpose(1, 2), tokens, reduction="none")

    def draw(self, h: Tensor, choose: Choose) -> Tensor:
        """Indices (R,) from h (R, W)."""
        return choose(self(h))
