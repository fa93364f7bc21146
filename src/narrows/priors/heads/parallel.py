"""The head of codes of several codebooks that are drawn in one step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.priors.samplers.ancestral import Choose
from narrows.priors.sequence import Head

__all__ = ["Parallel", "PresentEmbedding"]


class PresentEmbedding(nn.Module):
    """The sum of the embeddings of K codes, with a table for each; a code of -1 is absent, and adds nothing.

    Args:
        depth: K.
        codes: size of the codebooks, N.
        width: width of an embedding, W.

    Example:
        >>> PresentEmbedding(4, 16, 8)(torch.full((2, 5, 4), -1)).abs().max()
        tensor(0., grad_fn=<MaxBackward1>)
    """

    def __init__(self, depth: int, codes: int, width: int) -> None:
        super().__init__()
        self.codes = codes
        self.table = nn.Embedding(depth * codes, width)

    def forward(self, steps: Tensor) -> Tensor:
        """(..., K) -> (..., W)."""
        first = self.codes * torch.arange(steps.shape[-1], device=steps.device)
        each = self.table(steps.clamp_min(0) + first)
        total: Tensor = (each * (steps >= 0)[..., None]).sum(-2)
        return total


class Parallel(Head):
    r"""A softmax for each of K codes, which are independent given h.

    .. math:: p(k_{l1} \ldots k_{lK} \mid h_l) = \prod_i \mathrm{softmax}(W_i h_l + b_i)

    Args:
        width: channels of h, W.
        codes: size of the codebooks, N.
        depth: K.

    Example:
        >>> Parallel(8, 16, 4)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 4, 16])
    """

    def __init__(self, width: int, codes: int, depth: int) -> None:
        super().__init__()
        self.depth = depth
        self.classify = nn.Linear(width, depth * codes)
        nn.init.zeros_(self.classify.bias)

    def weights(self) -> list[Tensor]:
        """The weights of the classifiers."""
        return [self.classify.weight]

    def forward(self, h: Tensor) -> Tensor:
        """Logits of each code: (..., W) -> (..., K, N)."""
        return self.classify(h).unflatten(-1, (self.depth, -1))

    def nll(self, h: Tensor, tokens: Tensor, embed: nn.Module) -> Tensor:
        """-log p of each code of steps (B, S, K), in nats, (B, S, K); 0 of an absent one."""
        return F.cross_entropy(self(h).movedim(-1, 1), tokens, reduction="none", ignore_index=-1)

    def draw(self, h: Tensor, choose: Choose) -> Tensor:
        """Codes (R, K) from h (R, W)."""
        return choose(self(h))
