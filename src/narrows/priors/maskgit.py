"""MaskGIT: a transformer that fills in masked indices, many at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import NO_CONDITION, Batch, Condition, Loss, Pass, Prior, Symbols
from narrows.core.check import number, whole
from narrows.nets.vit import TransformerBlocks
from narrows.priors import require
from narrows.priors.labels import classes_told, drawn, dropped, guided, labels_of, with_rival
from narrows.priors.samplers.ancestral import sharpened
from narrows.priors.samplers.confidence import unmask

__all__ = ["MaskGIT"]

_PASSES = 8


class MaskGIT(Prior):
    r"""Every masked index from those that are not masked.

    .. math:: \min E_{x, M} \Big[ -\frac{1}{|M|} \sum_{l \in M} \log p(x_l \mid x_{\bar M}) \Big],\qquad
              |M| = \lceil \cos(\tfrac{\pi}{2} r) L \rceil,\quad r \sim U(0, 1)

    M is a random set of |M| of the L places. An example of several codes a place is one long row of them.

    The indices may be filled in one after the other in any order s, and for every s this is a distribution:

    .. math:: p_s(x) = \prod_l p(x_{s_l} \mid x_{s_1} \ldots x_{s_{l-1}})

    `ordered_nll` is -log p_s. `nll` is its mean over orders, an upper bound of -log of their mixture's probability:

    .. math:: E_s[-\log p_s(x)] =
              \sum_{m=1}^{L} E_{|M| = m} \Big[ -\frac1m \sum_{l \in M} \log p(x_l \mid x_{\bar M}) \Big]

    Args:
        symbols: what a code is: indices, one or several a place.
        classes: how many labels the data have.
        labels: whether the prior is told them, so that samples of a class can be asked for.
        width: channels of the transformer.
        depth: its blocks.
        heads: its heads, a divisor of `width`.
        smoothing: the share of the target that is spread over all codes in training.

    Raises:
        RequestError: symbols that are no indices, or an option out of range.

    Example:
        >>> prior = MaskGIT(Symbols((9,), codes=16), width=8, heads=2)
        >>> prior.sample(2, steps=4).shape, prior.nll(torch.zeros(3, 9, dtype=torch.long)).shape
        (torch.Size([2, 9]), torch.Size([3]))

    Reference:
        Chang et al., MaskGIT: Masked Generative Image Transformer, 2022. arXiv:2202.04200. The bound over orders:
        Uria, Murray, Larochelle, A Deep and Tractable Density Estimator, 2014. arXiv:1310.1757
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
        smoothing: float = 0.1,
    ) -> None:
        super().__init__()
        require(symbols, type(self))
        self.symbols = symbols
        self.shape, self.codes = symbols.shape, symbols.codes
        self.tokens = math.prod(self.shape)
        self.classes = classes_told(labels, classes)
        self.conditions = ("labels",) if labels else ()
        self.smoothing = number("smoothing", smoothing, low=0, high=1)
        self.embed = nn.Embedding(self.codes, width)
        self.mask = nn.Parameter(torch.empty(width))
        self.place = nn.Parameter(torch.empty(self.tokens, width))
        self.tell = nn.Linear(self.classes, width, bias=False) if self.classes else None
        self.blocks = TransformerBlocks(width, depth, heads)
        self.head = nn.Linear(width, self.codes)
        for weight in (self.embed.weight, self.mask, self.place, self.head.weight):
            nn.init.normal_(weight, std=0.02)
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
        labels = dropped(labels_of(batch.condition, len(indices), self.classes), self.training)
        ratio = torch.rand(len(indices), 1, device=indices.device)
        count = (torch.cos(0.5 * math.pi * ratio) * self.tokens).ceil().clamp(1, self.tokens)
        masked = torch.rand(indices.shape, device=indices.device).argsort(-1).argsort(-1) < count
        logits, truth = self(indices, masked, labels)[masked], indices[masked]
        total = F.cross_entropy(logits, truth, label_smoothing=self.smoothing)
        return Loss(total, {"nll_of_masked": F.cross_entropy(logits.detach(), truth)})

    def ordered_nll(self, symbols: Tensor, order: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of symbols (B, *shape) filled in one by one, in nats, (B,).

        Args:
            symbols: indices.
            order: the places in the order in which they are filled in, (L,) for all or (B, L) for each.
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
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        guidance: float = 1.0,
    ) -> Tensor:
        """n rows of symbols, (n, *shape).

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G); drawn evenly where the prior is told labels and none are given.
            steps: in how many steps the indices are filled in, T; as many as there are places fills in one a step.
            noise: on the confidence by which draws are kept, fading to 0; with 0 the surest always stay.
            temperature: below 1 likely codes are drawn more often.
            top_k: only so many likeliest codes are drawn; all of them when 0.
            top_p: only the likeliest codes that together have this probability.
            guidance: w; above 1 samples are drawn further towards their labels.
        """
        labels = with_rival(drawn(condition, n, self.classes, self.mask.device), guidance)
        times = 1 if guidance == 1 else 2

        def predict(indices: Tensor, masked: Tensor) -> Tensor:
            both = self(indices.repeat(times, 1), masked.repeat(times, 1), labels)
            return sharpened(guided(both, guidance), temperature, top_k, top_p)

        noise = number("noise", noise, low=0)
        rows = unmask(predict, n, self.tokens, whole("steps", steps), noise, self.mask.device)
        return rows.view(n, *self.shape)

    def _terms(self, indices: Tensor, masked: Tensor, labels: Tensor | None) -> Tensor:
        """-log p of every index given those that are not masked, (B, L)."""
        logits = self(indices, masked, labels).transpose(1, 2)
        return F.cross_entropy(logits, indices, reduction="none")
