"""The RQ-Transformer: over places one transformer, over the codes of a place another."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import NO_CONDITION, Condition, Prior, Symbols
from narrows.nets.vit import TransformerBlocks
from narrows.priors import require
from narrows.priors.labels import classes_told, drawn, dropped, guided, labels_of, with_rival
from narrows.priors.samplers.ancestral import draw, sharpened

__all__ = ["RQTransformer"]


class RQTransformer(Prior):
    r"""Stacks of D codes at L places: each code from the stacks before it and from those above it in its own.

    .. math:: p(k) = \prod_{l=1}^{L} \prod_{d=1}^{D} p(k_{ld} \mid k_{<l}, k_{l,<d})

    .. math:: h_l = \mathrm{Body}(u_1 \ldots u_l),\quad u_l = P_l + \sum_d e_d(k_{l-1,d}),\qquad
              p_{ld} = \mathrm{softmax}(W_d \mathrm{Head}(v_{l1} \ldots v_{ld})),\quad
              v_{l1} = Q_1 + h_l,\quad v_{ld} = Q_d + \sum_{i<d} e_i(k_{li})

    u_1 is a start token, which carries the labels. Attention runs over L places and, at each, over D codes, where
    a flat row would be L D long.

    The embeddings e are learned, a table for each depth, and so are the classifiers. The paper's e is a linear map
    of the quantiser's codebook, the same for all depths: one of those tables.

    Args:
        symbols: what a code is: indices (L, D).
        classes: how many labels the data have.
        labels: whether the prior is told them, so that samples of a class can be asked for.
        width: channels of both transformers.
        depth: blocks of the one over places.
        head_depth: blocks of the one over the codes of a place.
        heads: of attention, a divisor of `width`.

    Raises:
        RequestError: symbols that are no stacks of indices, or an option out of range.

    Example:
        >>> prior = RQTransformer(Symbols((9, 4), codes=16), width=8, heads=2)
        >>> prior.sample(2).shape, prior.nll(torch.zeros(3, 9, 4, dtype=torch.long)).shape
        (torch.Size([2, 9, 4]), torch.Size([3]))

    Reference:
        Lee et al., Autoregressive Image Generation using Residual Quantization, 2022, section 3.2. arXiv:2203.01941
    """

    reads = ("stacks",)

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        labels: bool = False,
        width: int = 128,
        depth: int = 3,
        head_depth: int = 1,
        heads: int = 4,
    ) -> None:
        super().__init__()
        require(symbols, type(self))
        self.symbols = symbols
        self.places, self.stack = symbols.shape
        self.codes, self.classes = symbols.codes, classes_told(labels, classes)
        self.conditions = ("labels",) if labels else ()
        self.embed = nn.Parameter(torch.empty(self.stack, self.codes, width))
        self.start = nn.Parameter(torch.empty(width))
        self.place = nn.Parameter(torch.empty(self.places, width))
        self.level = nn.Parameter(torch.empty(self.stack, width))
        self.tell = nn.Linear(self.classes, width, bias=False) if self.classes else None
        self.body = TransformerBlocks(width, depth, heads, causal=True)
        self.head = TransformerBlocks(width, head_depth, heads, causal=True)
        self.classify = nn.Parameter(torch.empty(self.stack, width, self.codes))
        self.bias = nn.Parameter(torch.zeros(self.stack, self.codes))
        for weight in (self.embed, self.start, self.place, self.level, self.classify):
            nn.init.normal_(weight, std=0.02)
        self.embed.requires_grad_(self.places * self.stack > 1)  # nothing follows a single index

    def forward(self, symbols: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits of every code from those before it: (B, L, D) -> (B, L, D, K)."""
        sums = self._embedded(symbols).cumsum(-2)
        inputs = torch.cat([self._start(len(symbols), labels)[:, None], sums[:, :-1, -1]], 1) + self.place
        h = self.body(inputs)
        stacks = torch.cat([h[..., None, :], sums[..., :-1, :]], -2) + self.level
        out = self.head(stacks.flatten(0, 1)).view_as(stacks)
        return torch.einsum("bldw,dwk->bldk", out, self.classify) + self.bias

    def nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of indices (B, L, D), in nats, (B,)."""
        labels = dropped(labels_of(condition, len(symbols), self.classes), self.training)
        logits = self(symbols, labels).movedim(-1, 1)
        return F.cross_entropy(logits, symbols, reduction="none").sum((-2, -1))

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition = NO_CONDITION,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        guidance: float = 1.0,
    ) -> Tensor:
        """n rows of stacks, (n, L, D), one code after the other; both transformers keep what they computed.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G); drawn evenly where the prior is told labels and none are given.
            temperature: below 1 likely codes are drawn more often.
            top_k: only so many likeliest codes are drawn; all of them when 0.
            top_p: only the likeliest codes that together have this probability.
            guidance: w; above 1 samples are drawn further towards their labels.
        """
        labels = with_rival(drawn(condition, n, self.classes, self.start.device), guidance)
        times = 1 if guidance == 1 else 2
        inputs = self._start(times * n, labels)
        places: list[Tensor] = []
        before: list[list[Tensor]] = [[] for _ in self.body.blocks]
        for place in self.place:
            h = self.body((inputs + place)[:, None], before)[:, 0]
            inputs = torch.zeros_like(h)
            stack: list[Tensor] = []
            above: list[list[Tensor]] = [[] for _ in self.head.blocks]
            for d, level in enumerate(self.level):
                out = self.head(((inputs if d else h) + level)[:, None], above)[:, 0]
                logits = guided(out @ self.classify[d] + self.bias[d], guidance)
                stack.append(draw(sharpened(logits, temperature, top_k, top_p)))
                inputs = inputs + F.embedding(stack[-1], self.embed[d]).repeat(times, 1)
            places.append(torch.stack(stack, 1))
        return torch.stack(places, 1)

    def _embedded(self, symbols: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D, width)."""
        levels = [F.embedding(symbols[..., d], table) for d, table in enumerate(self.embed)]
        return torch.stack(levels, -2)

    def _start(self, n: int, labels: Tensor | None) -> Tensor:
        """The first token, (n, width)."""
        start = self.start.expand(n, -1)
        return start if self.tell is None or labels is None else start + self.tell(labels.to(start.dtype))
