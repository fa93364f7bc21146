"""A causal transformer over the indices of a quantised code."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import NO_CONDITION, Condition, Prior, Symbols
from narrows.nets.vit import TransformerBlocks
from narrows.priors import require
from narrows.priors.labels import classes_told, drawn, dropped, guided, labels_of, with_rival
from narrows.priors.samplers.ancestral import draw, sharpened

__all__ = ["Autoregressive"]


class Autoregressive(Prior):
    r"""Every index from those before it, and from a label where one is told.

    .. math:: p(k_1 \ldots k_L) = \prod_l p(k_l \mid k_1 \ldots k_{l-1}),\quad
              p(k_l \mid \cdot) = \mathrm{softmax}(W h_l)

    h_l is what the transformer makes of a start token, which carries the label, and k_1 to k_{l-1}. An example of
    several codes a place is one long row of them.

    Args:
        symbols: what a code is: indices, one or several a place.
        classes: how many labels the data have.
        labels: whether the prior is told them, so that samples of a class can be asked for.
        width: channels of the transformer.
        depth: its blocks.
        heads: its heads, a divisor of `width`.

    Raises:
        RequestError: symbols that are no indices, or an option out of range.

    Example:
        >>> prior = Autoregressive(Symbols((9,), codes=16), width=8, heads=2)
        >>> prior.sample(2).shape, prior.nll(torch.zeros(3, 9, dtype=torch.long)).shape
        (torch.Size([2, 9]), torch.Size([3]))

    Reference:
        Van den Oord et al., Neural Discrete Representation Learning, 2017, section 3.3 (with a PixelCNN).
        arXiv:1711.00937. With a transformer: Esser et al., Taming Transformers, 2021. arXiv:2012.09841
    """

    reads = ("indices", "stacks")

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
        super().__init__()
        require(symbols, type(self))
        self.symbols = symbols
        self.tokens = math.prod(symbols.shape)
        self.codes, self.classes = symbols.codes, classes_told(labels, classes)
        self.conditions = ("labels",) if labels else ()
        self.embed = nn.Embedding(self.codes, width)
        self.start = nn.Parameter(torch.empty(width))
        self.place = nn.Parameter(torch.empty(self.tokens, width))
        self.tell = nn.Linear(self.classes, width, bias=False) if self.classes else None
        self.blocks = TransformerBlocks(width, depth, heads, causal=True)
        self.head = nn.Linear(width, self.codes)
        for weight in (self.embed.weight, self.start, self.place, self.head.weight):
            nn.init.normal_(weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.embed.requires_grad_(self.tokens > 1)  # nothing follows a single index

    def forward(self, indices: Tensor, labels: Tensor | None = None) -> Tensor:
        """The logits of every index from those before it: (B, L) -> (B, L, K)."""
        start = self._start(len(indices), labels)[:, None]
        inputs = torch.cat([start, self.embed(indices[:, :-1])], 1) + self.place
        return self.head(self.blocks(inputs))

    def nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of indices (B, *shape), in nats, (B,)."""
        labels = dropped(labels_of(condition, len(symbols), self.classes), self.training)
        indices = symbols.flatten(1)
        return F.cross_entropy(self(indices, labels).transpose(1, 2), indices, reduction="none").sum(-1)

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
        """n rows of indices, (n, *shape), one index after the other; what was computed of earlier ones is kept.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G); drawn evenly where the prior is told labels and none are
                given.
            temperature: below 1 likely codes are drawn more often.
            top_k: only so many likeliest codes are drawn; all of them when 0.
            top_p: only the likeliest codes that together have this probability.
            guidance: w; above 1 samples are drawn further towards their labels.
        """
        labels = with_rival(drawn(condition, n, self.classes, self.start.device), guidance)
        times = 1 if guidance == 1 else 2
        inputs = self._start(times * n, labels)
        found: list[Tensor] = []
        before: list[list[Tensor]] = [[] for _ in self.blocks.blocks]
        for place in self.place:
            h = self.blocks((inputs + place)[:, None], before)[:, 0]
            logits = guided(self.head(h), guidance)
            found.append(draw(sharpened(logits, temperature, top_k, top_p)))
            inputs = self.embed(found[-1]).repeat(times, 1)
        return torch.stack(found, 1).view(n, *self.symbols.shape)

    def _start(self, n: int, labels: Tensor | None) -> Tensor:
        """The first token, (n, width)."""
        start = self.start.expand(n, -1)
        return start if self.tell is None or labels is None else start + self.tell(labels.to(start.dtype))
