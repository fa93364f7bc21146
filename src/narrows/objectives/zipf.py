"""An auxiliary loss for latents that are active less often than expected."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.bottlenecks.sparse.choice import zipf_density
from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.core import Autoencoder, Pass, Sparse, all_sum
from narrows.core.check import number
from narrows.core.evidence import Latents
from narrows.core.schedules import Schedule
from narrows.objectives.dead_latents import AuxK, unexplained

__all__ = ["AuxZipf"]


class AuxZipf(AuxK):
    r"""AuxK for all underused latents: those active less often than Zipf's law predicts for their rank.

    .. math:: V \frac{\|e - \hat e\|^2}{\|e - \bar e\|^2}, \qquad
        \hat e = \sum_{j \in \mathrm{top}_{k'}(U)} z_j a_j, \quad U = \{j : r_j < \tau\, d_{\mathrm{rank}(j)}\}

    r_j is the activation frequency of a latent, an EMA over examples; rank(j) is its rank by frequency; d is
    Zipf's law with sum k (`bottlenecks.choice.zipf_density`). With tau near 0 only dead latents remain, and
    this is `AuxK`. The value of tau is our choice; the paper says that the tail is below the law.

    Args:
        k: number of underused latents that predict the residual, k'.
        latents: number of latents, N.
        budget: number of active latents of an example, on average.
        share: tau, from 0 to 1.
        exponent: exponent of Zipf's law.
        offset: offset of Zipf's law.
        weight: weight of the auxiliary loss.
        window: time constant of the EMA, in examples.

    Raises:
        RequestError: a number out of range.

    Reference:
        Ayonrinde, Adaptive Sparse Allocation with Mutual Choice & Feature Choice Sparse Autoencoders, 2024.
        arXiv:2411.02124
    """

    name = "aux_zipf"
    rate: Tensor
    expected: Tensor

    def __init__(
        self,
        *,
        k: int,
        latents: int,
        budget: float,
        share: float = 0.5,
        exponent: float = 1.0,
        offset: float = 0.0,
        weight: Schedule = 1 / 32,
        window: int,
    ) -> None:
        super().__init__(k=k, dead_after=window, weight=weight)
        self.share = number("underused", share, low=0, high=1)
        self.register_buffer("expected", zipf_density(latents, budget, exponent, offset).float())
        self.register_buffer("rate", self.expected.clone())

    def underused(self) -> Tensor:
        """The indices of the latents that are active less often than expected, (n,)."""
        order = self.rate.argsort(descending=True, stable=True)
        low = self.rate[order] < self.share * self.expected
        return order[low].sort().values

    def after_step(self, passed: Pass) -> None:
        """Update the activation frequencies, over all processes."""
        z = passed.code[Latents].z
        if isinstance(z, Sparse):
            fired = torch.zeros_like(self.rate)
            fired.index_add_(0, z.indices.flatten(), (z.values != 0).flatten().to(fired.dtype))
        else:
            fired = (z != 0).sum(0).to(self.rate.dtype)
        counted = all_sum(torch.cat([fired, fired.new_tensor([len(z)])]))
        decay = torch.exp(-counted[-1] / self.dead_after)
        self.rate.lerp_(counted[:-1] / counted[-1], 1 - decay)

    def forward(self, model: Autoencoder, passed: Pass, residual: Tensor) -> Tensor:
        """V times the share of the residual (B, ...) that underused latents do not explain, else 0."""
        bottleneck, few = model.bottleneck, self.underused()
        assert isinstance(bottleneck, SparseBottleneck)
        if not len(few):
            return residual.new_zeros(())
        alone = bottleneck.alone(passed.features, self.k, few)
        return self.variance * unexplained(residual, model.decoder.combine(alone))  # type: ignore[operator]
