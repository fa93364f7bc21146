"""The head of a token that is a stack of indices, drawn one after another."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.nets.vit import TransformerBlocks
from narrows.priors.samplers.ancestral import Choose
from narrows.priors.sequence import Head

__all__ = ["Depth", "StackEmbedding"]


class StackEmbedding(nn.Module):
    """The sum of the embeddings of a stack of D indices, with a table for each depth.

    Args:
        depth: D.
        codes: size of the codebook, K.
        width: width of an embedding, W.

    Example:
        >>> StackEmbedding(4, 16, 8)(torch.zeros(2, 5, 4, dtype=torch.long)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, depth: int, codes: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(depth, codes, width))

    def partial(self, stacks: Tensor) -> Tensor:
        """The sums over the first 1, 2 ... D indices: (..., D) -> (..., D, W)."""
        levels = [F.embedding(stacks[..., d], table) for d, table in enumerate(self.weight)]
        return torch.stack(levels, -2).cumsum(-2)

    def forward(self, stacks: Tensor) -> Tensor:
        """(..., D) -> (..., W)."""
        return self.partial(stacks)[..., -1, :]


class Depth(Head):
    r"""A causal transformer over the D indices of a stack.

    .. math:: p_{ld} = \mathrm{softmax}(W_d \mathrm{Blocks}(v_{l1} \ldots v_{ld})),\quad
              v_{l1} = Q_1 + h_l,\quad v_{ld} = Q_d + \sum_{i<d} e_i(k_{li})

    Args:
        stack: D.
        codes: size of the codebook, K.
        width: channels of h, W.
        depth: number of blocks.
        heads: number of attention heads.
    """

    def __init__(self, stack: int, codes: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.empty(stack, width))
        self.classify = nn.Parameter(torch.empty(stack, width, codes))
        self.bias = nn.Parameter(torch.zeros(stack, codes))
        self.blocks = TransformerBlocks(width, depth, heads, causal=True)

    def weights(self) -> list[Tensor]:
        """The embeddings of depths, and the classifiers."""
        return [self.level, self.classify]

    def forward(self, h: Tensor, stacks: Tensor, embed: StackEmbedding) -> Tensor:
        """Logits of each index given those before it: h (B, L, W) and stacks (B, L, D) -> (B, L, D, K)."""
        inputs = torch.cat([h[..., None, :], embed.partial(stacks)[..., :-1, :]], -2) + self.level
        out = self.blocks(inputs.flatten(0, 1)).view_as(inputs)
        return torch.einsum("bldw,dwk->bldk", out, self.classify) + self.bias

    def nll(self, h: Tensor, tokens: Tensor, embed: nn.Module) -> Tensor:
        """-log p of each index of stacks (B, L, D), in nats, (B, L, D)."""
        return F.cross_entropy(self(h, tokens, embed).movedim(-1, 1), tokens, reduction="none")

    def draw(self, h: Tensor, choose: Choose, embed: StackEmbedding) -> Tensor:
        """Stacks (R, D) from h (R, W), with cached keys and values."""
        total, stack = torch.zeros_like(h), list[Tensor]()
        cache: list[list[Tensor]] = [[] for _ in self.blocks.blocks]
        for d, level in enumerate(self.level):
            out = self.blocks(((total if d else h) + level)[:, None], cache)[:, 0]
            stack.append(choose(out @ self.classify[d] + self.bias[d]))
            total = total + F.embedding(stack[-1], embed.weight[d])
        return torch.stack(stack, 1)
