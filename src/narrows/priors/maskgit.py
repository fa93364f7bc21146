"""MaskGIT: a transformer that predicts masked indices, several per step."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import NO_CONDITION, Batch, Condition, Loss, Pass, Symbols, all_sum
from narrows.core.check import number, whole
from narrows.nets.vit import TransformerBlocks
from narrows.priors.indices import IndexPrior
from narrows.priors.labels import guided, labels_of
from narrows.priors.samplers.ancestral import sharpened
from narrows.priors.samplers.confidence import unmask

__all__ = ["MaskGIT"]

_PASSES = 8
"""Forward passes in an estimate of the likelihood."""


class MaskGIT(IndexPrior):
    r"""A prior that predicts masked indices from the others.

    .. math:: \min \frac{1}{E|M|} E_{x, M} \Big[ -\sum_{l \in M} \log p(x_l \mid x_{\bar M}) \Big],\qquad
              |M| = \lceil \cos(\tfrac{\pi}{2} r) L \rceil,\quad r \sim U(0, 1)

    M is a random set of |M| of the L positions. Several indices per position are flattened into one sequence.

    Indices can be generated one after another in any order s, and each order defines a distribution:

    .. math:: p_s(x) = \prod_l p(x_{s_l} \mid x_{s_1} \ldots x_{s_{l-1}})

    `ordered_nll` is -log p_s. `nll` is its mean over orders, an upper bound of -log of their mixture's probability:

    .. math:: E_s[-\log p_s(x)] =
              \sum_{m=1}^{L} E_{|M| = m} \Big[ -\frac1m \sum_{l \in M} \log p(x_l \mid x_{\bar M}) \Big]

    Args:
        smoothing: label smoothing in training: the share of the target that is spread over all codes.

    Raises:
        RequestError: the symbols are not indices, or an option is out of range.

    Example:
        >>> prior = MaskGIT(Symbols((9,), codes=16), width=8, heads=2)
        >>> prior.sample(2, steps=4).shape, prior.nll(torch.zeros(3, 9, dtype=torch.long)).shape
        (torch.Size([2, 9]), torch.Size([3]))

    Reference:
        Chang et al., MaskGIT: Masked Generative Image Transformer, 2022. arXiv:2202.04200. The bound over orders:
        Uria, Murray, Larochelle, A Deep and Tractable Density Estimator, 2014. arXiv:1310.1757
    """

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        smoothing: float = 0.1,
        labels: bool = False,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
    ) -> None:
        smoothing = number("smoothing", smoothing, low=0, high=1)
        super().__init__(symbols, classes, labels, width)
        self.smoothing = smoothing
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

    def loss(self, batch: Batch, step: int = 0, passed: Pass | None = None) -> Loss:
        """The cross-entropy of a masked index, smoothed; and without smoothing, in nats."""
        indices = batch.x.flatten(1)
        labels = self.told(batch.condition, len(indices))
        masked = self.masks(indices)
        logits, truth = self(indices, masked, labels)[masked], indices[masked]
        here = torch.tensor([len(truth), 1.0], device=indices.device)
        masks, processes = all_sum(here)  # a mean over the masks of all processes, not of their means
        weight = len(truth) * processes / masks
        total = weight * F.cross_entropy(logits, truth, label_smoothing=self.smoothing)
        return Loss(total, {"nll_of_masked": weight * F.cross_entropy(logits.detach(), truth)})

    def masks(self, indices: Tensor) -> Tensor:
        """Random sets M of the places of rows of indices (B, L), as booleans (B, L)."""
        ratio = torch.rand(len(indices), 1, device=indices.device)
        count = (torch.cos(0.5 * math.pi * ratio) * self.tokens).ceil().clamp(1, self.tokens)
        return torch.rand(indices.shape, device=indices.device).argsort(-1).argsort(-1) < count

    def ordered_nll(self, symbols: Tensor, order: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of symbols (B, *shape) generated one by one, in nats, (B,).

        Args:
            symbols: indices.
            order: the places in the order of generation, (L,) for all or (B, L) for each.
            condition: ``labels``, where the prior is told them.
        """
        indices = symbols.flatten(1)
        order = order.to(indices.device).expand(indices.shape)
        labels = labels_of(condition, len(indices), self.classes)
        when = order.argsort(-1)
        total = torch.zeros((), device=indices.device)
        for turn in range(self.tokens):
            terms = self._terms(indices, when >= turn, labels)
            total = total + terms.gather(-1, order[:, turn : turn + 1])[:, 0]
        return total

    def nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """An upper bound of -log p, in nats, (B,): a fixed estimate of the mean over all orders.

        With up to 8 places it is `ordered_nll` of one order, else a sum over 8 random sets M whose sizes are spread
        from 1 to L. The sets are the same each time, and for all rows.
        """
        indices = symbols.flatten(1)
        labels = labels_of(condition, len(indices), self.classes)
        dice = torch.Generator().manual_seed(0)
        if self.tokens <= _PASSES:
            return self.ordered_nll(symbols, torch.randperm(self.tokens, generator=dice), condition)
        total = torch.zeros((), device=indices.device)
        for k in range(_PASSES):
            low, high = (self.tokens * end // _PASSES for end in (k, k + 1))
            size = int(torch.randint(low, high, (), generator=dice)) + 1
            chosen = torch.randperm(self.tokens, generator=dice)[:size].to(indices.device)
            masked = torch.zeros_like(indices, dtype=torch.bool).index_fill(1, chosen, True)
            terms = self._terms(indices, masked, labels)[:, chosen]
            total = total + (high - low) * terms.mean(-1)
        return total

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition = NO_CONDITION,
        *,
        steps: int = 8,
        noise: float = 4.5,
        guidance: float = 1.0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
    ) -> Tensor:
        """n rows of indices, (n, *shape). See `narrows.priors.SAMPLING` for the other options.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G); drawn evenly where the prior is told labels and none are given.
            steps: passes of the transformer, T; with as many as there are indices, one is generated in each.
            noise: on the confidence by which drawn indices are kept, fading to 0; with 0 the most confident are kept.
        """
        labels = self.asked(condition, n, guidance, self.mask.device)
        copies = 1 if guidance == 1 else 2

        def predict(indices: Tensor, masked: Tensor) -> Tensor:
            both = self(indices.repeat(copies, 1), masked.repeat(copies, 1), labels)
            return sharpened(guided(both, guidance), temperature, top_k, top_p)

        noise = number("noise", noise, low=0)
        rows = unmask(predict, n, self.tokens, whole("steps", steps), noise, self.mask.device)
        return rows.view(n, *self.symbols.shape)

    def _terms(self, indices: Tensor, masked: Tensor, labels: Tensor | None) -> Tensor:
        """-log p of every index given those that are not masked, (B, L)."""
        logits = self(indices, masked, labels).transpose(1, 2)
        return F.cross_entropy(logits, indices, reduction="none")
