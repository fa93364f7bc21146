"""Masked diffusion: indices are masked at a random time, and revealed step by step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from narrows.core import NO_CONDITION, Batch, Code, Condition, Loss, Pass, Symbols
from narrows.core.check import choice, whole
from narrows.priors.masked import MaskedPrior
from narrows.priors.samplers.reveal import reveal

__all__ = ["SURVIVAL", "MaskedDiffusion"]

_LEAST = 1e-4
"""The probability of an index to be masked at t = 0, so that the weight of the bound is finite."""

SURVIVAL: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "linear": (lambda t: 1 - t, lambda t: -torch.ones_like(t)),
    "cosine": (
        lambda t: 1 - torch.cos(0.5 * math.pi * (1 - t)),
        lambda t: -0.5 * math.pi * torch.sin(0.5 * math.pi * (1 - t)),
    ),
}
"""The probability of an index to be unmasked at time t, from 1 at t = 0 to 0 at t = 1, and its derivative."""


class MaskedDiffusion(MaskedPrior):
    r"""A prior that is trained on a bound of the likelihood, an integral of cross-entropies of masked indices.

    .. math:: -\log p(x) \le \int_0^1 \frac{-\alpha_t'}{1 - \alpha_t}\,
              E_{q(x_t|x)} \Big[ -\sum_{l: x_{t,l} = \mathrm{mask}} \log p(x_l \mid x_t) \Big] dt
              + L\, \epsilon \log K

    q masks each index with probability :math:`1 - \alpha_t`, which is :math:`\epsilon = 10^{-4}` at t = 0; the last
    term is that of the indices masked then. The bound is the same for every schedule :math:`\alpha`, and up to
    :math:`\epsilon` the mean over orders that `nll` estimates (see `MaskedPrior`). The times of a batch are evenly
    spaced from a random one.

    Args:
        schedule: alpha: ``linear``, 1 - t, or ``cosine``, 1 - cos(pi (1 - t) / 2); it changes the noise of the gradient
            alone.

    Raises:
        RequestError: the symbols are not indices, or an option is out of range.

    Example:
        >>> prior = MaskedDiffusion(Symbols((9,), codes=16), width=8, heads=2)
        >>> prior.sample(2, steps=4).shape, prior.nll(torch.zeros(3, 9, dtype=torch.long)).shape
        (torch.Size([2, 9]), torch.Size([3]))

    Reference:
        Shi et al., Simplified and Generalized Masked Diffusion for Discrete Data, 2024. arXiv:2406.04329
    """

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        schedule: Literal["linear", "cosine"] = "linear",
        labels: bool = False,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
    ) -> None:
        super().__init__(symbols, classes, labels, width, depth, heads)
        self.schedule = choice("schedule", schedule, list(SURVIVAL))

    def loss(self, batch: Batch, step: int = 0, passed: Pass | None = None) -> Loss:
        """The bound at one random time per row, in nats, its mean over rows."""
        bound = self.bound(batch.x, self.told(batch.condition, len(batch.x))).mean()
        return Loss(bound, {"nll": bound.detach()}, Pass(batch, Code(batch.x)))

    def bound(self, symbols: Tensor, labels: Tensor | None = None) -> Tensor:
        """An unbiased estimate of the bound of each row of symbols (B, L, ...), in nats, (B,)."""
        rows = torch.arange(len(symbols), device=symbols.device)
        t = (torch.rand((), device=symbols.device) + rows / len(symbols)) % 1
        hidden, weight = self.corruption(t)
        masked = torch.rand(symbols.shape[:2], device=symbols.device) < hidden[:, None]
        terms = self.terms(symbols, masked, labels).sum(-1)
        return weight * terms + math.prod(self.symbols.shape) * _LEAST * math.log(self.codes)

    def corruption(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """At times t: the probability to be masked, 1 - alpha, and the weight -alpha' / (1 - alpha)."""
        alpha, slope = (function(t) for function in SURVIVAL[self.schedule])
        hidden = 1 - (1 - _LEAST) * alpha
        return hidden, -(1 - _LEAST) * slope / hidden

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition = NO_CONDITION,
        *,
        steps: int = 16,
        guidance: float = 1.0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
    ) -> Tensor:
        """n rows of indices, (n, *shape). See `narrows.priors.SAMPLING` for the other options.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G). A prior that is told labels draws them if none are given.
            steps: passes of the transformer, whose times are the cosines of evenly spaced angles.
        """
        propose = self.proposer(n, condition, guidance, temperature, top_k, top_p)
        times = torch.cos(0.5 * math.pi * torch.linspace(0, 1, whole("steps", steps) + 1))
        times[-1] = 0.0
        survival = SURVIVAL[self.schedule][0](times).tolist()
        return reveal(propose, n, self.symbols.shape, [0.0, *survival[1:-1], 1.0], self.mask.device)
