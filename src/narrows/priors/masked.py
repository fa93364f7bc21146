"""The base class of priors that predict masked indices from the others."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Condition, Symbols, all_sum
from narrows.nets.vit import TransformerBlocks
from narrows.priors.heads.depth import Depth, StackEmbedding
from narrows.priors.heads.softmax import Softmax
from narrows.priors.indices import BUDGET, IndexPrior
from narrows.priors.labels import guided
from narrows.priors.samplers.ancestral import draw, sharpened
from narrows.priors.samplers.confidence import Propose

__all__ = ["MaskedPrior"]

_PASSES = 8
"""Forward passes in an estimate of the likelihood."""


class MaskedPrior(IndexPrior):
    r"""A bidirectional transformer over L places, some of which are masked. A subclass defines `loss` and `sample`.

    Places can be generated one after another in any order s, and each order defines a distribution:

    .. math:: p_s(x) = \prod_l p(x_{s_l} \mid x_{s_1} \ldots x_{s_{l-1}})

    `ordered_nll` is -log p_s. `nll` is its mean over orders, an upper bound of -log of their mixture's probability:

    .. math:: E_s[-\log p_s(x)] =
              \sum_{m=1}^{L} E_{|M| = m} \Big[ -\frac1m \sum_{l \in M} \log p(x_l \mid x_{\bar M}) \Big]

    A place has one index or a stack of D, which is masked and revealed as a whole. The transformer reads the sum of the
    embeddings of a stack, and a small causal transformer, the head of the RQ-Transformer, draws its indices in turn:

    .. math:: p(x_l \mid x_{\bar M}) = \prod_{d=1}^{D} p(k_{ld} \mid k_{l,<d},\, x_{\bar M})

    Args:
        symbols: what a code is.
        classes: how many labels the data have.
        labels: whether the prior is told them.
        width: channels of its transformer.
        depth: its blocks.
        heads: its attention heads.

    Reference:
        The bound over orders: Uria, Murray, Larochelle, A Deep and Tractable Density Estimator, 2014. arXiv:1310.1757.
        The head: Lee et al., Autoregressive Image Generation using Residual Quantization, 2022. arXiv:2203.01941
    """

    exact = False
    seen: list[tuple[Tensor, Tensor | None]] | None = None
    """What `states` records of the passes of a draw."""
    plan = MappingProxyType({"steps": BUDGET})
    embed: nn.Embedding | StackEmbedding
    head: Softmax | Depth

    def __init__(
        self, symbols: Symbols, classes: int, labels: bool, width: int, depth: int, heads: int
    ) -> None:
        super().__init__(symbols, classes, labels, width)
        self.embed, self.head = self.made(symbols, width, heads)
        self.mask = nn.Parameter(torch.empty(width))
        self.place = nn.Parameter(torch.empty(self.tokens, width))
        self.blocks = TransformerBlocks(width, depth, heads)
        self.initialise(self.embed.weight, self.mask, self.place, *self.head.weights())
        self.embed.requires_grad_(math.prod(symbols.shape) > 1)  # a single index is always masked

    def made(self, symbols: Symbols, width: int, heads: int) -> tuple[Any, Any]:
        """The map of a place's symbols to (..., width), and the head that draws them."""
        if symbols.kind == "stacks":
            depth = symbols.shape[1]
            return StackEmbedding(depth, self.codes, width), Depth(depth, self.codes, width, 1, heads)
        return nn.Embedding(self.codes, width), Softmax(width, self.codes)

    def masks(self, symbols: Tensor) -> Tensor:
        """Random sets M of the places of symbols (B, L, ...), as booleans (B, L), with |M| on the cosine schedule."""
        rows, device = len(symbols), symbols.device
        ratio = torch.rand(rows, 1, device=device)
        count = (torch.cos(0.5 * math.pi * ratio) * self.tokens).ceil().clamp(1, self.tokens)
        return torch.rand(rows, self.tokens, device=device).argsort(-1).argsort(-1) < count

    @staticmethod
    def share(masked: Tensor) -> Tensor:
        """The weight of this process's mean over its masked places (B, L) in that over those of all processes.

        Gradients are averaged over processes, so that the weights of P processes sum to P.
        """
        here = torch.stack([masked.sum(), masked.new_ones((), dtype=torch.long)])
        places, processes = all_sum(here)
        return here[0] * processes / places

    def hidden(
        self, symbols: Tensor, masked: Tensor, labels: Tensor | None = None, step: Tensor | None = None
    ) -> Tensor:
        """What is known of the masked places: (B, L, W), of which the rows of other places are not used.

        Args:
            symbols: (B, L) or (B, L, D).
            masked: where they are masked, (B, L).
            labels: one-hot, (B, G).
            step: the step in which each place was revealed, (B, L), for a prior to which that makes a difference.
        """
        return self.blocks(self.inputs(symbols, masked, labels))

    def inputs(self, symbols: Tensor, masked: Tensor, labels: Tensor | None) -> Tensor:
        """The inputs of the transformer, (B, L, W)."""
        h = torch.where(masked[..., None], self.mask, self.embed(symbols)) + self.place
        return self.with_labels(h, labels)

    def with_labels(self, h: Tensor, labels: Tensor | None) -> Tensor:
        """Inputs of the transformer (B, L, W) with the embedding of labels (B, G) added, if there are any."""
        if self.tell is None or labels is None:
            return h
        return h + self.tell(labels.to(h.dtype))[:, None]

    def logits(self, h: Tensor, symbols: Tensor) -> Tensor:
        """The logits of each index, in a stack given those before it: h (B, L, W), symbols -> (*symbols, K)."""
        return self.head(h) if isinstance(self.head, Softmax) else self.head(h, symbols, self.embed)

    def forward(self, symbols: Tensor, masked: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits of every index: symbols (B, L) or (B, L, D), where masked (B, L), labels -> (*symbols, K)."""
        return self.logits(self.hidden(symbols, masked, labels), symbols)

    def layers(self, symbols: Tensor) -> list[Tensor]:
        """The features after each block of the transformer, of whole rows without masks, (B, L, W) each."""
        return self.blocks.layers(self.embed(symbols) + self.place)

    def ordered_nll(self, symbols: Tensor, order: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of symbols (B, *shape) generated place by place, in nats, (B,).

        Args:
            symbols: indices.
            order: the places in the order of generation, (L,) for all or (B, L) for each.
            condition: ``labels``, where the prior is told them.
        """
        order = order.to(symbols.device).expand(symbols.shape[:2])
        labels = self.known(condition, len(symbols))
        when = order.argsort(-1)
        total = torch.zeros((), device=symbols.device)
        for turn in range(self.tokens):
            terms = self.terms(symbols, when >= turn, labels, when)
            total = total + terms.gather(-1, order[:, turn : turn + 1])[:, 0]
        return total

    def nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """An upper bound of -log p, in nats, (B,): a fixed estimate of the mean over all orders.

        With up to 8 places it is `ordered_nll` of one order, else a sum over 8 random sets M whose sizes are spread
        from 1 to L. The sets are the same each time, and for all rows.
        """
        labels = self.known(condition, len(symbols))
        dice = torch.Generator().manual_seed(0)
        if self.tokens <= _PASSES:
            return self.ordered_nll(symbols, torch.randperm(self.tokens, generator=dice), condition)
        total = torch.zeros((), device=symbols.device)
        for k in range(_PASSES):
            low, high = (self.tokens * end // _PASSES for end in (k, k + 1))
            size = int(torch.randint(low, high, (), generator=dice)) + 1
            order = torch.randperm(self.tokens, generator=dice).to(symbols.device)
            chosen, when = order[:size], order.argsort().expand(symbols.shape[:2])
            masked = torch.zeros(symbols.shape[:2], dtype=torch.bool, device=symbols.device)
            terms = self.terms(symbols, masked.index_fill(1, chosen, True), labels, when)[:, chosen]
            total = total + (high - low) * terms.mean(-1)
        return total

    def proposer(
        self, n: int, condition: Condition, guidance: float, temperature: float, top_k: int, top_p: float
    ) -> Propose:
        """Draws of masked places with the options of `sample`: see `narrows.priors.SAMPLING`."""
        labels = self.asked(condition, n, guidance, self.mask.device)
        copies = 1 if guidance == 1 else 2

        def propose(symbols: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
            where = masked.repeat(copies, 1)
            h = self.hidden(symbols.repeat(copies, *[1] * (symbols.dim() - 1)), where, labels)
            return self.drawn(h[where], symbols, masked, guidance, (temperature, top_k, top_p))

        return propose

    def drawn(
        self, h: Tensor, symbols: Tensor, masked: Tensor, guidance: float, options: tuple[float, int, float]
    ) -> tuple[Tensor, Tensor]:
        """Symbols whose masked places are drawn, and the log probabilities (n, L) of these; infinity of the others.

        Args:
            h: what is known of the masked places of all rows, (R, W); with guidance, with and without labels (2R, W).
            symbols: (n, L, ...).
            masked: where they are masked, (n, L).
            guidance: w.
            options: of `sharpened`.
        """
        if self.seen is not None:
            self.seen.append((symbols, masked))
        sure = list[Tensor]()
        copies = 1 if guidance == 1 else 2

        def choose(logits: Tensor) -> Tensor:
            log_p = sharpened(guided(logits, guidance), *options).log_softmax(-1)
            found = draw(log_p)
            sure.append(log_p.gather(-1, found[..., None])[..., 0])
            return found.repeat(copies)

        head, embed = self.head, cast(StackEmbedding, self.embed)
        found = head.draw(h, choose) if isinstance(head, Softmax) else head.draw(h, choose, embed)
        filled = symbols.clone()
        filled[masked] = found[: len(sure[0])]
        log_p = sure[0].new_full(masked.shape, torch.inf)
        log_p[masked] = torch.stack(sure).sum(0)
        return filled, log_p

    def states(
        self, n: int, condition: Condition = NO_CONDITION, *, steps: int = 8
    ) -> list[tuple[Tensor, Tensor | None]]:
        """Symbols and where they are masked, before each pass and at the end; see `Prior.states`."""
        self.seen = seen = list[tuple[Tensor, Tensor | None]]()
        sample: Any = self.sample  # every masked prior draws in steps
        try:
            symbols = sample(n, condition, steps=steps)
        finally:
            self.seen = None
        return [*seen, (symbols, symbols.new_zeros(n, self.tokens, dtype=torch.bool))] if seen else []

    def terms(
        self, symbols: Tensor, masked: Tensor, labels: Tensor | None, step: Tensor | None = None
    ) -> Tensor:
        """-log p of every masked place given those that are not masked, (B, L); 0 of the others. See `hidden`."""
        h, found = self.hidden(symbols, masked, labels, step)[masked], symbols[masked]
        nll = self.head.nll(h[None], found[None], self.embed)[0]
        return h.new_zeros(masked.shape).masked_scatter(
            masked, nll.flatten(1).sum(1) if nll.dim() > 1 else nll
        )
