"""The RQ-Transformer: a transformer over positions, and one over the codes of a position."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from narrows.core import Autoencoder, Batch, Loss, Pass, Symbols
from narrows.core.check import number
from narrows.priors import require
from narrows.priors.heads.depth import Depth, StackEmbedding
from narrows.priors.samplers.ancestral import Choose
from narrows.priors.speculative import SpeculativeSequence

__all__ = ["RQTransformer"]


class RQTransformer(SpeculativeSequence):
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
    head: Depth

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
        require(symbols, type(self))
        places, stack = symbols.shape
        super().__init__(
            symbols,
            classes,
            labels,
            tokens=places,
            embed=lambda: StackEmbedding(stack, symbols.codes, width),
            head=lambda: Depth(stack, symbols.codes, width, head_depth, heads),
            width=width,
            depth=depth,
            heads=heads,
        )
        self.net.embed.requires_grad_(places * stack > 1)  # nothing follows a single index
        self.label_temperature = number("label_temperature", label_temperature, low=0)
        self.deterministic = self.label_temperature == 0

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
        return self.head(self.net(symbols, labels), symbols, self.net.embed)

    def loss(self, batch: Batch, step: int = 0, passed: Pass | None = None) -> Loss:
        """The mean nll of stacks; with ``soft_labels`` their cross-entropy."""
        soft_labels = batch.condition.get("soft_labels")
        if soft_labels is None:
            return super().loss(batch, step, passed)
        log_p = self(batch.x, self.told(batch.condition, len(batch.x))).log_softmax(-1)
        total = -(soft_labels * log_p).sum((1, 2, 3)).mean()
        nll = -log_p.detach().gather(-1, batch.x[..., None]).sum((1, 2, 3)).mean()
        return Loss(total, {"soft_cross_entropy": total.detach(), "nll_of_drawn": nll})

    def draw(self, h: Tensor, choose: Choose) -> Tensor:
        """A stack for each row of h (R, W)."""
        return self.head.draw(h, choose, cast(StackEmbedding, self.net.embed))
