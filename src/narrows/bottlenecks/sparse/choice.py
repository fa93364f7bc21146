"""Feature Choice: each latent has a budget of examples, by Zipf's law, so that no latent can die."""

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
    r"""The expected activation frequency of each latent, :math:`d_i = \min(1, c\,(i + q)^{-s})`, with sum k.

    Args:
        latents: number of latents, N.
        k: number of active latents of an example, on average; at most N.
        exponent: s; 0 for equal budgets.
        offset: q of the Zipf-Mandelbrot law, which flattens its beginning.

    Example:
        >>> zipf_density(4, 1.0)
        tensor([0.4800, 0.2400, 0.1600, 0.1200], dtype=torch.float64)
    """
    number("k", k, low=0, high=latents)
    law = (torch.arange(1, latents + 1, dtype=torch.double) + number("zipf_offset", offset, low=0)).pow(
        -number("zipf", exponent, low=0)
    )
    if law.is_meta:  # tensors on the meta device have no values
        return law
    full = 0  # the number of latents with frequency 1; c follows from the others
    while True:
        share = (k - full) / law[full:].sum() * law if full < latents else torch.ones_like(law)
        more = int((share > 1).sum())
        if more <= full:
            return share.clamp(max=1)
        full = more


class FeatureChoice(Thresholded):
    r"""Each latent is active on the m_i examples of the batch with its largest pre-activations.

    .. math:: z_{bi} = h_{bi}\, 1[\, h_{bi} \in \mathrm{top}_{m_i}(h_{\cdot i})\,]\, 1[h_{bi} > 0], \qquad
        m_i \approx B d_i, \quad d_i \propto (i + q)^{-s}, \quad \sum_i d_i = k

    The budgets follow Zipf's law in the order of the latents, as the frequencies of features do; with
    exponent 0 they are equal. They are rounded to integers by a rule that shifts at each step, so that their
    sum is k B and on average each latent gets its share, even below one example per batch. At inference each
    latent has its own threshold, the EMA of its smallest active value.

    Args:
        latents: number of latents, N.
        k: number of active latents of an example, on average.
        exponent: s of Zipf's law.
        offset: q of Zipf's law.
        decay: decay of the thresholds' EMA.

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

    elementwise = True  # in eval()
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
        """Shift the rounding by the golden ratio, which covers the unit interval evenly."""
        self.shift.fill_((step * _GOLDEN) % 1.0)

    def budgets(self, examples: int) -> Tensor:
        """The number of the batch's examples on which each latent is active, integers with sum k B, (N,)."""
        # The tolerance keeps a sum just below an integer from being rounded down.
        ends = (examples * self.density.double().cumsum(0) + self.shift.double() + 1e-7).floor()
        return torch.diff(ends, prepend=ends.new_zeros(1)).long().clamp_max(examples)

    def compete(self, pre: Tensor | LazyLinear) -> Sparse:
        """The best examples of each latent."""
        return column_top(pre, self.budgets(len(pre)))

    def reset(self, rows: Tensor) -> list[nn.Parameter]:
        """Reset some latents (n,), with their thresholds."""
        self.threshold[rows] = 0
        return super().reset(rows)
