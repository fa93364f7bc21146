"""The RQ-Transformer: a transformer over positions, and one over the codes of a position."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import NO_CONDITION, Autoencoder, Batch, Condition, Loss, Pass, Symbols
from narrows.core.check import number
from narrows.nets.vit import TransformerBlocks
from narrows.priors.indices import CausalPrior

__all__ = ["RQTransformer"]


class RQTransformer(CausalPrior):
    r"""An autoregressive prior over stacks of D codes at L positions.

    .. math:: p(k) = \prod_{l=1}^{L} \prod_{d=1}^{D} p(k_{ld} \mid k_{<l}, k_{l,<d})

    .. math:: h_l = \mathrm{Body}(u_1 \ldots u_l),\quad u_l = P_l + \sum_d e_d(k_{l-1,d}),\qquad
              p_{ld} = \mathrm{softmax}(W_d \mathrm{Head}(v_{l1} \ldots v_{ld})),\quad
              v_{l1} = Q_1 + h_l,\quad v_{ld} = Q_d + \sum_{i<d} e_i(k_{li})

    u_1 is a start token, which encodes the labels. Attention is over L positions and, at each, over D codes, instead of
    L D codes of a flattened sequence.

    With `label_temperature` tau > 0, training uses stochastic codes and soft labels. A code is drawn from Q, for the
    residual r that the codes drawn above it leave, and Q is its target:

    .. math:: Q_{ld}(k) \propto \exp(-\|r_{l,d-1} - e_k\|^2 / \tau),\quad k_{ld} \sim Q_{ld},\quad
              r_{ld} = r_{l,d-1} - e_{k_{ld}},\qquad
              \min -\sum_{l,d} \sum_k Q_{ld}(k) \log p_{ld}(k)

    `nll` is that of given codes. Codes are drawn at every step, so that each batch is encoded again.

    The embeddings e_d are learned, a table for each depth, and so are the classifiers. The paper's are linear maps of
    the quantiser's codebook, the same for all depths.

    Args:
        label_temperature: tau of soft labels, in units of a token's squared distance to a code; the authors use 0.5.
            With 0 the nearest codes are the targets.
        head_depth: blocks of the transformer over the codes of a place; `depth` is of that over places.

    Raises:
        RequestError: the symbols are not stacks of indices, or an option is out of range.

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
        label_temperature: float = 0.0,
        labels: bool = False,
        width: int = 128,
        depth: int = 3,
        head_depth: int = 1,
        heads: int = 4,
    ) -> None:
        super().__init__(symbols, classes, labels, width)
        self.label_temperature = number("label_temperature", label_temperature, low=0)
        self.deterministic = self.label_temperature == 0
        self.places, self.stack = symbols.shape
        self.embed = nn.Parameter(torch.empty(self.stack, self.codes, width))
        self.place = nn.Parameter(torch.empty(self.places, width))
        self.level = nn.Parameter(torch.empty(self.stack, width))
        self.body = TransformerBlocks(width, depth, heads, causal=True)
        self.head = TransformerBlocks(width, head_depth, heads, causal=True)
        self.classify = nn.Parameter(torch.empty(self.stack, width, self.codes))
        self.bias = nn.Parameter(torch.zeros(self.stack, self.codes))
        self.initialise(self.embed, self.start, self.place, self.level, self.classify)
        self.embed.requires_grad_(self.tokens > 1)  # nothing follows a single index

    def view(self, model: Autoencoder, batch: Batch) -> Batch:
        """The stacks of a batch; with `label_temperature` stochastic ones, with ``soft_labels``."""
        if self.deterministic:
            return model.as_symbols(batch)
        drawn, soft_labels = model.bottleneck.sample_symbols(
            model.encode_fixed(batch), self.label_temperature
        )
        return Batch(drawn, condition={**batch.condition, "soft_labels": soft_labels})

    def forward(self, symbols: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits of each code given the previous ones: (B, L, D) -> (B, L, D, K)."""
        sums = self._embedded(symbols).cumsum(-2)
        inputs = torch.cat([self.first(len(symbols), labels)[:, None], sums[:, :-1, -1]], 1) + self.place
        h = self.body(inputs)
        stacks = torch.cat([h[..., None, :], sums[..., :-1, :]], -2) + self.level
        out = self.head(stacks.flatten(0, 1)).view_as(stacks)
        return torch.einsum("bldw,dwk->bldk", out, self.classify) + self.bias

    def loss(self, batch: Batch, step: int = 0, passed: Pass | None = None) -> Loss:
        """The mean nll of stacks; with ``soft_labels`` their cross-entropy."""
        soft_labels = batch.condition.get("soft_labels")
        if soft_labels is None:
            return super().loss(batch, step, passed)
        log_p = self(batch.x, self.told(batch.condition, len(batch.x))).log_softmax(-1)
        total = -(soft_labels * log_p).sum((1, 2, 3)).mean()
        nll = -log_p.detach().gather(-1, batch.x[..., None]).sum((1, 2, 3)).mean()
        return Loss(total, {"soft_cross_entropy": total.detach(), "nll_of_drawn": nll})

    def nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of indices (B, L, D), in nats, (B,)."""
        logits = self(symbols, self.told(condition, len(symbols))).movedim(-1, 1)
        return F.cross_entropy(logits, symbols, reduction="none").sum((-2, -1))

    def generate(self, start: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """Stacks (R, L, D) from R start tokens (R, width); both transformers cache keys and values."""
        inputs, places = start, list[Tensor]()
        cache: list[list[Tensor]] = [[] for _ in self.body.blocks]
        for place in self.place:
            h = self.body((inputs + place)[:, None], cache)[:, 0]
            inputs = torch.zeros_like(h)
            stack: list[Tensor] = []
            above: list[list[Tensor]] = [[] for _ in self.head.blocks]
            for d, level in enumerate(self.level):
                out = self.head(((inputs if d else h) + level)[:, None], above)[:, 0]
                stack.append(choose(out @ self.classify[d] + self.bias[d]))
                inputs = inputs + F.embedding(stack[-1], self.embed[d])
            places.append(torch.stack(stack, 1))
        return torch.stack(places, 1)

    def _embedded(self, symbols: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D, width)."""
        levels = [F.embedding(symbols[..., d], table) for d, table in enumerate(self.embed)]
        return torch.stack(levels, -2)
