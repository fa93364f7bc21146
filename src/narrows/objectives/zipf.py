"""The auxiliary loss for latents that are on less often than they should be, dead or not."""

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
    r"""AuxK for all latents that are underused: on less often than Zipf's law has it at their rank.

    .. math:: V \frac{\|e - \hat e\|^2}{\|e - \bar e\|^2}, \qquad
        \hat e = \sum_{j \in \mathrm{top}_{k'}(U)} z_j a_j, \quad U = \{j : r_j < \tau\, d_{\mathrm{rank}(j)}\}

    r_j is how often a latent was on, a running mean over examples; rank(j) is its place when latents are sorted
    by it; d is Zipf's law in sum k (`bottlenecks.choice.zipf_density`). With tau near 0 only the dead are left, and
    this is `AuxK`. Where the share tau lies is our choice; the paper says that the tail falls below the law.

    Args:
        k: how many underused latents predict the residual, k'.
        latents: how many there are, N.
        budget: how many are on in an example, on average.
        share: tau, from 0 to 1.
        exponent: of Zipf's law.
        offset: of Zipf's law.
        weight: of the auxiliary loss.
        window: examples over which the running mean reaches back.

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
        """The numbers of the latents that are on less often than they should be, (n,)."""
        order = self.rate.argsort(descending=True, stable=True)
        low = self.rate[order] < self.share * self.expected
        return order[low].sort().values

    def after_step(self, passed: Pass) -> None:
        """Move the running means of how often each latent is on, over all processes."""
        z = passed.code[Latents].z
        if isinstance(z, Sparse):
            fired = torch.zeros_like(self.rate)
            fired.index_add_(0, z.indices.flatten(), (z.values != 0).flatten().to(fired.dtype))
        else:
            fired = (z != 0).sum(0).to(self.rate.dtype)
        counted = all_sum(torch.cat([fired, fired.new_tensor([len(z)])]))
        keep = torch.exp(-counted[-1] / self.dead_after)
        self.rate.lerp_(counted[:-1] / counted[-1], 1 - keep)

    def forward(self, model: Autoencoder, passed: Pass, residual: Tensor) -> Tensor:
        """V times the share of the residual (B, ...) that the underused leave unexplained; 0 where none is."""
        bottleneck, few = model.bottleneck, self.underused()
        assert isinstance(bottleneck, SparseBottleneck)
        if not len(few):
            return residual.new_zeros(())
        alone = bottleneck.alone(passed.features, self.k, few)
        return self.variance * unexplained(residual, model.decoder.combine(alone))  # type: ignore[operator]
