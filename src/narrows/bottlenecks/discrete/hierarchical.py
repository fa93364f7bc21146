"""Hierarchical refinement quantisation: paths of codes drawn by Gumbel-softmax, the deeper ones dropped at random."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.bottlenecks.discrete.quantizer import Quantised
from narrows.bottlenecks.discrete.stacks import StackQuantizer
from narrows.core.check import number, positive

__all__ = ["HierarchicalQuantizer", "annealed"]


def annealed(step: int, start: float = 2.0, least: float = 0.5, over: float = 1e4) -> float:
    r"""The temperature of a step: :math:`\tau(t) = \tau_0 \max(\rho, 2 - 2 / (1 + e^{-t / \gamma}))`.

    Args:
        step: t.
        start: tau_0, the temperature of the first step.
        least: rho, the smallest temperature as a share of the first.
        over: gamma, in steps.

    Example:
        >>> annealed(0), round(annealed(10_000), 4), annealed(100_000)
        (2.0, 1.0758, 1.0)
    """
    return start * max(least, 2 - 2 / (1 + math.exp(-step / over)))


class HierarchicalQuantizer(StackQuantizer):
    r"""Each token is a path of D codes, each drawn for what the codes before it left over.

    .. math:: q(k_d = k \mid x, k_{<d}) \propto \exp(-\|r_{d-1} - e_d(k)\|^2),\qquad r_0 = x,\quad
              r_d = r_{d-1} - y_d^\top e_d,\qquad \hat z = \sum_d \beta_d\, y_d^\top e_d

    In training y_d is drawn by the Gumbel-softmax: one-hot, with the gradient of the relaxed draw at temperature
    tau(t), see `annealed`. Depth dropout is :math:`\beta_d = \prod_{i \le d} b_i, b_i \sim \mathrm{Bernoulli}(p)`, for
    each example, so that the decoder learns to read the first codes of a path alone. In `eval()` y_d is the most
    probable code and nothing is dropped. Codes start as draws from :math:`N(0, s^{2 (d-1)} I)`.

    With `kl` the cost ``prior_kl`` is that of the categories from a learned prior of each depth,
    :math:`\sum_d \mathrm{KL}(q_d \| p_d)`.

    Args:
        features: width of the encoder's tokens.
        codes: the number of codes at each depth, K.
        tokens: the number of tokens of an example, L.
        depth: the number of codes of a token, D.
        width: width of a code, d; that of the tokens if None.
        kept: p, the probability that a depth is kept, given the one before; 1 for no dropout.
        first: whether the first depth is always kept.
        shrink: s, the ratio of the standard deviations of a depth's first codes and those above.
        temperature: tau of the first step.
        least: the smallest temperature as a share of the first.
        over: the number of steps over which it falls.
        kl: whether there is a prior and its cost.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> hrq = HierarchicalQuantizer(4, codes=8, tokens=9, depth=3).eval()
        >>> code = hrq(torch.randn(2, 9, 4))
        >>> hrq.to_symbols(code).shape, bool((hrq.from_symbols(hrq.to_symbols(code)).z == code.z).all())
        (torch.Size([2, 9, 3]), True)

    Reference:
        Hosking, Tang, Lapata, Hierarchical Sketch Induction for Paraphrase Generation, 2022, section 3.
        arXiv:2203.03463
    """

    relaxed = True

    def __init__(
        self,
        features: int,
        *,
        codes: int,
        tokens: int,
        depth: int = 3,
        width: int | None = None,
        kept: float = 0.7,
        first: bool = True,
        shrink: float = 0.5,
        temperature: float = 2.0,
        least: float = 0.5,
        over: float = 1e4,
        kl: bool = False,
    ) -> None:
        super().__init__(features, features if width is None else width, codes, tokens, depth)
        self.kept, self.first = number("kept", kept, low=0, high=1), first
        scale = number("shrink", shrink, low=0) ** torch.arange(self.depth)
        least = number("least", least, low=1e-3, high=1)
        self.fall = (
            positive("temperature", temperature, "Try 2."),
            least,
            positive("over", over, "Try 1e4."),
        )
        self.tau = annealed(0, *self.fall)
        self.books = nn.Parameter(torch.randn(self.depth, self.codes, self.width) * scale[:, None, None])
        self.prior = nn.Parameter(torch.zeros(self.depth, self.codes)) if kl else None

    def before_step(self, step: int) -> None:
        """Set the temperature of a step."""
        self.tau = annealed(step, *self.fall)

    def codes_at(self, level: int, indices: Tensor) -> Tensor:
        """The vectors of indices of one depth, counting from 0: (...) -> (..., d)."""
        return F.embedding(indices, self.books[level])

    def quantize(self, tokens: Tensor) -> Quantised:
        """Draw a path of codes for tokens (B, L, d), in `eval()` the most probable codes; indices are (B, L, D)."""
        left, total, indices, cost = (
            tokens,
            torch.zeros_like(tokens),
            list[Tensor](),
            tokens.new_zeros(len(tokens)),
        )
        kept = self.dropped(len(tokens)).to(tokens)
        for level, book in enumerate(self.books):
            logits = 2 * left @ book.T - book.square().sum(-1)  # less |r|^2, which cancels
            if self.training:
                choice = F.gumbel_softmax(logits, self.tau, hard=True)
                indices.append(choice.argmax(-1))
                chosen = choice @ book
            else:
                indices.append(logits.argmax(-1))
                chosen = self.codes_at(level, indices[-1])
            left, total = left - chosen, total + kept[level, :, None, None] * chosen
            if self.prior is not None:
                log_q = logits.log_softmax(-1)
                cost = cost + (log_q.exp() * (log_q - self.prior[level].log_softmax(-1))).sum((-2, -1))
        costs = {} if self.prior is None else {"prior_kl": cost}
        return Quantised(total, torch.stack(indices, -1), costs)

    def dropped(self, n: int) -> Tensor:
        """1 for the depths of n examples that are kept and 0 for those that are dropped, (D, n)."""
        device = self.books.device
        if not self.training or self.kept == 1:
            return torch.ones(self.depth, n, device=device)
        kept = (torch.rand(self.depth, n, device=device) < self.kept).float()
        if self.first:
            kept[0] = 1
        return kept.cumprod(0)
