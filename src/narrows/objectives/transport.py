"""Optimal transport between a batch's tokens and the codes of a codebook with masses."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from narrows.bottlenecks.discrete.codebooks.weighted import WeightedCodebook
from narrows.bottlenecks.discrete.vq import VectorQuantizer
from narrows.core import Autoencoder, Objective, Pass
from narrows.core.check import number, refuse, whole
from narrows.core.schedules import Schedule
from narrows.kernels.entropic import transport

__all__ = ["CodeTransport", "transport_cost"]


def transport_cost(cost: Tensor, masses: Tensor, *, smoothing: float = 0.05, rounds: int = 30) -> Tensor:
    r"""The cost of the entropic transport of N points of equal mass to codes with masses.

    .. math:: W = \sum_{ik} P_{ik} C_{ik},\qquad \frac{\partial W}{\partial C} = P,\qquad
              \frac{\partial W}{\partial \pi_k} = g_k

    The plan P and the potentials g are constants of the gradient, which is that of the entropic cost at its
    minimum.

    Args:
        cost: C, (N, K).
        masses: pi, (K,), positive, of sum 1.
        smoothing: epsilon, as a share of the mean cost.
        rounds: rounds of Sinkhorn's iterations.

    Returns:
        A scalar.
    """
    fixed, even = cost.detach(), cost.new_full((len(cost),), 1 / len(cost))
    epsilon = smoothing * max(float(fixed.mean()), torch.finfo(cost.dtype).tiny)
    found = transport(fixed, even, masses.detach(), smoothing=epsilon, rounds=rounds)
    total: Tensor = (found.plan * cost).sum()
    centred = found.g - (found.g * masses.detach()).sum()  # masses have a constant sum
    return total + (centred * (masses - masses.detach())).sum()


class CodeTransport(Objective):
    r"""Distortion plus the cost of transporting the tokens of a batch to codes with masses.

    .. math:: E[-\log p(x \mid z_q)]
              + \lambda L\, W\Big(\tfrac1N \textstyle\sum_i \delta_{x_i}, \sum_k \pi_k \delta_{e_k}\Big)
              + \lambda_r\, \mathrm{KL}(\pi \,\|\, \tfrac1K)

    The cost is the squared distance. L is the number of tokens of an example, so that the weight is per token
    as that of a commitment loss. Both terms are numbers of a batch, whose weight is relative to the distortion
    of one example.

    Args:
        weight: lambda.
        even: lambda_r.
        smoothing: entropy of the transport, as a share of the mean cost.
        rounds: rounds of Sinkhorn's iterations.
        tokens: at most so many tokens of a batch are transported, chosen at random; all if 0.

    Raises:
        RequestError: an argument out of range.

    Reference:
        Vuong et al., Vector Quantized Wasserstein Auto-Encoder, 2023, section 3. arXiv:2302.05917
    """

    def __init__(
        self,
        weight: Schedule = 0.25,
        even: Schedule = 1.0,
        *,
        smoothing: float = 0.05,
        rounds: int = 30,
        tokens: int = 512,
    ) -> None:
        super().__init__(weights={"transport": weight, "masses": even})
        self.smoothing = number("smoothing", smoothing, low=1e-3)
        self.rounds, self.most = whole("rounds", rounds), whole("tokens", tokens, low=0)

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The transport and the divergence of the masses, both scalars."""
        quantizer = model.bottleneck
        if not isinstance(quantizer, VectorQuantizer) or not isinstance(quantizer.book, WeightedCodebook):
            raise refuse("bottleneck", type(quantizer).__name__, "a quantizer with a `WeightedCodebook`")
        rows = quantizer.inward(passed.features).flatten(0, -2)
        if 0 < self.most < len(rows):
            rows = rows[torch.randperm(len(rows), device=rows.device)[: self.most]]
        e, masses = quantizer.book.codebook, quantizer.book.masses
        with torch.autocast(rows.device.type, enabled=False):
            cost = _squared_distances(rows.to(e), e)
        moved = transport_cost(cost, masses, smoothing=self.smoothing, rounds=self.rounds)
        divergence = (masses * masses.clamp_min(torch.finfo(masses.dtype).tiny).log()).sum()
        return {"transport": quantizer.tokens * moved, "masses": divergence + math.log(len(masses))}


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances, (N, d) and (K, d) -> (N, K)."""
    return (a.square().sum(1, keepdim=True) - 2 * a @ b.T + b.square().sum(1)).clamp_min(0)
