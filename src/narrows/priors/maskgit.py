"""MaskGIT: a transformer that predicts masked indices, several per step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.core import NO_CONDITION, Batch, Condition, Loss, Pass, Symbols
from narrows.core.check import number, whole
from narrows.priors.masked import MaskedPrior
from narrows.priors.samplers.confidence import unmask

__all__ = ["MaskGIT"]


class MaskGIT(MaskedPrior):
    r"""A prior that predicts masked indices from the others.

    .. math:: \min \frac{1}{E|M|} E_{x, M} \Big[ -\sum_{l \in M} \log p(x_l \mid x_{\bar M}) \Big],\qquad
              |M| = \lceil \cos(\tfrac{\pi}{2} r) L \rceil,\quad r \sim U(0, 1)

    M is a random set of |M| of the L positions. A position has one index or a stack of them, which is masked, drawn and
    kept as one: its log probability, the sum over its indices, is its confidence. Likelihoods are those of
    `MaskedPrior`.

    Args:
        smoothing: label smoothing in training: the share of the target that is spread over all codes.

    Raises:
        RequestError: the symbols are not indices, or an option is out of range.

    Example:
        >>> prior = MaskGIT(Symbols((9,), codes=16), width=8, heads=2)
        >>> prior.sample(2, steps=4).shape, prior.nll(torch.zeros(3, 9, dtype=torch.long)).shape
        (torch.Size([2, 9]), torch.Size([3]))

    Reference:
        Chang et al., MaskGIT: Masked Generative Image Transformer, 2022. arXiv:2202.04200
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
        super().__init__(symbols, classes, labels, width, depth, heads)
        self.smoothing = smoothing

    def loss(self, batch: Batch, step: int = 0, passed: Pass | None = None) -> Loss:
        """The cross-entropy of a masked index, smoothed; and without smoothing, in nats."""
        symbols = batch.x
        labels = self.told(batch.condition, len(symbols))
        masked = self.masks(symbols)
        h, truth = self.hidden(symbols, masked, labels, self.steps(masked))[masked], symbols[masked]
        logits = self.logits(h[None], truth[None])[0].movedim(-1, 1)
        weight = self.share(masked)
        total = weight * F.cross_entropy(logits, truth, label_smoothing=self.smoothing)
        return Loss(total, {"nll_of_masked": weight * F.cross_entropy(logits.detach(), truth)})

    def steps(self, masked: Tensor) -> Tensor | None:
        """Steps in which places that are not masked (B, L) were revealed, in training; None where they do not count."""
        return None

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
            condition: their ``labels``, one-hot (n, G). A prior that is told labels draws them if none are given.
            steps: passes of the transformer, T; with as many as there are places, one is generated in each.
            noise: on the confidence by which drawn indices are kept, fading to 0; with 0 the most confident are kept.
        """
        propose = self.proposer(n, condition, guidance, temperature, top_k, top_p)
        noise = number("noise", noise, low=0)
        return unmask(propose, n, self.symbols.shape, whole("steps", steps), noise, self.mask.device)
