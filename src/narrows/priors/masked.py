"""The base class of priors that predict masked indices from the others."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import NO_CONDITION, Condition, Symbols
from narrows.nets.vit import TransformerBlocks
from narrows.priors.indices import IndexPrior
from narrows.priors.labels import guided
from narrows.priors.samplers.ancestral import sharpened
from narrows.priors.samplers.confidence import Predict

__all__ = ["MaskedPrior"]

_PASSES = 8
"""Forward passes in an estimate of the likelihood."""


class MaskedPrior(IndexPrior):
    r"""A bidirectional transformer of indices, some of which are masked. A subclass defines `loss` and `sample`.

    Several indices per position are flattened into one sequence of L. Indices can be generated one after another in any
    order s, and each order defines a distribution:

    .. math:: p_s(x) = \prod_l p(x_{s_l} \mid x_{s_1} \ldots x_{s_{l-1}})

    `ordered_nll` is -log p_s. `nll` is its mean over orders, an upper bound of -log of their mixture's probability:

    .. math:: E_s[-\log p_s(x)] =
              \sum_{m=1}^{L} E_{|M| = m} \Big[ -\frac1m \sum_{l \in M} \log p(x_l \mid x_{\bar M}) \Big]

    Args:
        symbols: what a code is.
        classes: how many labels the data have.
        labels: whether the prior is told them.
        width: channels of its transformer.
        depth: its blocks.
        heads: its attention heads.

    Reference:
        The bound over orders: Uria, Murray, Larochelle, A Deep and Tractable Density Estimator, 2014. arXiv:1310.1757
    """

    exact = False

    def __init__(
        self, symbols: Symbols, classes: int, labels: bool, width: int, depth: int, heads: int
    ) -> None:
        super().__init__(symbols, classes, labels, width)
        self.embed = nn.Embedding(self.codes, width)
        self.mask = nn.Parameter(torch.empty(width))
        self.place = nn.Parameter(torch.empty(self.tokens, width))
        self.blocks = TransformerBlocks(width, depth, heads)
        self.head = nn.Linear(width, self.codes)
        self.initialise(self.embed.weight, self.mask, self.place, self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.embed.requires_grad_(self.tokens > 1)  # a single index is always masked

    def forward(self, indices: Tensor, masked: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits of every place: indices (B, L), where they are masked (B, L), labels -> (B, L, K)."""
        h = torch.where(masked[..., None], self.mask, self.embed(indices)) + self.place
        if self.tell is not None and labels is not None:
            h = h + self.tell(labels.to(h.dtype))[:, None]
        return self.head(self.blocks(h))

    def ordered_nll(self, symbols: Tensor, order: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of symbols (B, *shape) generated one by one, in nats, (B,).

        Args:
            symbols: indices.
            order: the places in the order of generation, (L,) for all or (B, L) for each.
            condition: ``labels``, where the prior is told them.
        """
        indices = symbols.flatten(1)
        order = order.to(indices.device).expand(indices.shape)
        labels = self.known(condition, len(indices))
        when = order.argsort(-1)
        total = torch.zeros((), device=indices.device)
        for turn in range(self.tokens):
            terms = self.terms(indices, when >= turn, labels)
            total = total + terms.gather(-1, order[:, turn : turn + 1])[:, 0]
        return total

    def nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """An upper bound of -log p, in nats, (B,): a fixed estimate of the mean over all orders.

        With up to 8 places it is `ordered_nll` of one order, else a sum over 8 random sets M whose sizes are spread
        from 1 to L. The sets are the same each time, and for all rows.
        """
        indices = symbols.flatten(1)
        labels = self.known(condition, len(indices))
        dice = torch.Generator().manual_seed(0)
        if self.tokens <= _PASSES:
            return self.ordered_nll(symbols, torch.randperm(self.tokens, generator=dice), condition)
        total = torch.zeros((), device=indices.device)
        for k in range(_PASSES):
            low, high = (self.tokens * end // _PASSES for end in (k, k + 1))
            size = int(torch.randint(low, high, (), generator=dice)) + 1
            chosen = torch.randperm(self.tokens, generator=dice)[:size].to(indices.device)
            masked = torch.zeros_like(indices, dtype=torch.bool).index_fill(1, chosen, True)
            terms = self.terms(indices, masked, labels)[:, chosen]
            total = total + (high - low) * terms.mean(-1)
        return total

    def predictor(
        self, n: int, condition: Condition, guidance: float, temperature: float, top_k: int, top_p: float
    ) -> Predict:
        """The logits of `forward` with the options of `sample`: see `narrows.priors.SAMPLING`."""
        labels = self.asked(condition, n, guidance, self.mask.device)
        copies = 1 if guidance == 1 else 2

        def predict(indices: Tensor, masked: Tensor) -> Tensor:
            both = self(indices.repeat(copies, 1), masked.repeat(copies, 1), labels)
            return sharpened(guided(both, guidance), temperature, top_k, top_p)

        return predict

    def terms(self, indices: Tensor, masked: Tensor, labels: Tensor | None) -> Tensor:
        """-log p of every index given those that are not masked, (B, L)."""
        logits = self(indices, masked, labels).transpose(1, 2)
        return F.cross_entropy(logits, indices, reduction="none")
