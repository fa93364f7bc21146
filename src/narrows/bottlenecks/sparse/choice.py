"""Feature Choice: every latent has a budget of examples, by Zipf's law, so that none can die."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from narrows.bottlenecks.sparse.batchtopk import Thresholded
from narrows.core import Sparse
from narrows.core.check import number, whole
from narrows.kernels.batch import column_top
from narrows.kernels.sparse import LazyLinear

__all__ = ["FeatureChoice", "zipf_density"]

_GOLDEN = (math.sqrt(5) - 1) / 2


def zipf_density(latents: int, k: float, exponent: float = 1.0, offset: float = 0.0) -> Tensor:
    r"""The share of examples that each latent is expected on: :math:`d_i = \min(1, c\,(i + q)^{-s})`, in sum k.

    Args:
        latents: how many, N.
        k: how many are on in an example, on average; at most N.
        exponent: s; 0 for budgets that are alike.
        offset: q, by which the first ones are flattened (Zipf and Mandelbrot).

    Example:
        >>> zipf_density(4, 1.0)
        tensor([0.4800, 0.2400, 0.1600, 0.1200], dtype=torch.float64)
    """
    number("k", k, low=0, high=latents)
    law = (torch.arange(1, latents + 1, dtype=torch.double) + number("zipf_offset", offset, low=0)).pow(
        -number("zipf", exponent, low=0)
    )
    if law.is_meta:  # shapes without numbers
        return law
    full = 0  # so many of the first are on in every example; c follows from what they leave
    while True:
        share = (k - full) / law[full:].sum() * law if full < latents else torch.ones_like(law)
        more = int((share > 1).sum())
        if more <= full:
            return share.clamp(max=1)
        full = more


class FeatureChoice(Thresholded):
    r"""Each latent keeps the m_i examples of the batch on which it is largest.

    .. math:: z_{bi} = h_{bi}\, 1[\, h_{bi} \in \mathrm{top}_{m_i}(h_{\cdot i})\,]\, 1[h_{bi} > 0], \qquad
        m_i \approx B d_i, \quad d_i \propto (i + q)^{-s}, \quad \sum_i d_i = k

    The budgets follow the latents' order, by Zipf's law, as the frequencies of features do; with exponent 0 they are
    alike. They are rounded to whole numbers by a rule that shifts at each step, so that in sum they are k B and
    over time each latent has its share, were it less than one example a batch. At inference each latent has a
    threshold of its own, the running mean of the smallest value that passed.

    Args:
        latents: how many latents, N.
        k: how many of them are on in an example, on average.
        exponent: s of Zipf's law.
        offset: q of Zipf's law.
        decay: how much of the thresholds' running means stays at a step.

    Raises:
        RequestError: k is not between 1 and the number of latents, or a number out of range.

    Example:
        >>> bottleneck = FeatureChoice(2, 1, exponent=0.0)
        >>> bottleneck(torch.tensor([[3.0, 1.0], [2.0, 5.0]])).z.dense()
        tensor([[3., 0.],
                [0., 5.]])

    Reference:
        Ayonrinde, Adaptive Sparse Allocation with Mutual Choice & Feature Choice Sparse Autoencoders, 2024.
        arXiv:2411.02124
    """

    elementwise = True  # outside training
    shift: Tensor
    density: Tensor

    def __init__(
        self, latents: int, k: int, *, exponent: float = 1.0, offset: float = 0.0, decay: float = 0.9
    ) -> None:
        super().__init__(latents, decay=decay, each=True)
        self.k = whole("k", k, low=1, high=latents, fix="k cannot exceed ``latents``.")
        self.register_buffer("density", zipf_density(latents, k, exponent, offset))
        self.register_buffer("shift", torch.zeros((), dtype=torch.double))

    def before_step(self, step: int) -> None:
        """Shift the rounding: the golden section visits all places evenly."""
        self.shift.fill_((step * _GOLDEN) % 1.0)

    def budgets(self, examples: int) -> Tensor:
        """How many of a batch's examples each latent may have, whole numbers in sum k B, (N,)."""
        # A sum that is a whole number but for rounding must not fall below it.
        ends = (examples * self.density.double().cumsum(0) + self.shift.double() + 1e-7).floor()
        return torch.diff(ends, prepend=ends.new_zeros(1)).long().clamp_max(examples)

    def compete(self, pre: Tensor | LazyLinear) -> Sparse:
        """Each latent's best examples."""
        return column_top(pre, self.budgets(len(pre)))

    def reset(self, rows: Tensor) -> list[nn.Parameter]:
        """Begin anew with some latents (n,): their thresholds too."""
        self.threshold[rows] = 0
        return super().reset(rows)
