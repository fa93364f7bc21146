"""A causal transformer over the indices of a quantised code."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import NO_CONDITION, Condition, Symbols
from narrows.nets.vit import TransformerBlocks
from narrows.priors.indices import CausalPrior

__all__ = ["Autoregressive"]


class Autoregressive(CausalPrior):
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
        super().__init__(symbols, classes, labels, width)
        self.embed = nn.Embedding(self.codes, width)
        self.place = nn.Parameter(torch.empty(self.tokens, width))
        self.blocks = TransformerBlocks(width, depth, heads, causal=True)
        self.head = nn.Linear(width, self.codes)
        self.initialise(self.embed.weight, self.start, self.place, self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.embed.requires_grad_(self.tokens > 1)  # nothing follows a single index

    def forward(self, indices: Tensor, labels: Tensor | None = None) -> Tensor:
        """The logits of each index given the previous ones: (B, L) -> (B, L, K)."""
        start = self.first(len(indices), labels)[:, None]
        inputs = torch.cat([start, self.embed(indices[:, :-1])], 1) + self.place
        return self.head(self.blocks(inputs))

    def nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of indices (B, *shape), in nats, (B,)."""
        indices = symbols.flatten(1)
        logits = self(indices, self.told(condition, len(symbols))).transpose(1, 2)
        return F.cross_entropy(logits, indices, reduction="none").sum(-1)

    def generate(self, start: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """Indices (R, *shape) from R start tokens (R, width)."""
        inputs, found = start, list[Tensor]()
        cache: list[list[Tensor]] = [[] for _ in self.blocks.blocks]
        for place in self.place:
            h = self.blocks((inputs + place)[:, None], cache)[:, 0]
            found.append(choose(self.head(h)))
            inputs = self.embed(found[-1])
        return torch.stack(found, 1).view(-1, *self.symbols.shape)
