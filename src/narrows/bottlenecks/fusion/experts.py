"""The multimodal bottleneck: one Gaussian expert per modality, fused into one posterior."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor
from torch.distributions import Distribution

from narrows.bottlenecks.fusion.base import Fusion
from narrows.bottlenecks.gaussian.diagonal import LOG_VARIANCE, Gaussian
from narrows.core import Code, Tree
from narrows.core.evidence import Experts

__all__ = ["FusedGaussian"]


class FusedGaussian(Gaussian):
    r"""q(z | x_A) from the experts of the present modalities A, with the prior N(0, I).

    .. math:: \mathrm{kl} = \mathrm{KL}(q(z \mid x_A)\,\|\,p(z))

    Each example has its own set of present modalities. Features are a pair: the experts (B, M, 2Z), each a
    mean and a log-variance, and their mask (*subsets, B, M); several subsets of the same experts are leading
    axes, which come after the axes of the samples.

    Args:
        latent: the width of the code, Z.
        fusion: combines the experts into one posterior.

    Raises:
        RequestError: `latent` is not an integer of at least 1.

    Example:
        >>> from narrows.bottlenecks.fusion.product import Product
        >>> experts, present = torch.zeros(3, 2, 4), torch.ones(3, 2, dtype=torch.bool)
        >>> code = FusedGaussian(2, Product())((experts, present), samples=(5,))
        >>> code.z.shape, code.costs["kl"].shape
        (torch.Size([5, 3, 2]), torch.Size([5, 3]))

    Reference:
        Wu and Goodman, 2018, section 2.2. arXiv:1802.05335
    """

    def __init__(self, latent: int, fusion: Fusion) -> None:
        super().__init__(latent)
        self.fusion = fusion

    def posterior(self, h: Tree) -> Distribution:
        """The fused posterior of (experts, present)."""
        return self.fusion.posterior(*_moments(h), h[1])

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Draw z from the fused posterior of (experts, present)."""
        mean, log_variance = _moments(h)
        summary = Experts(mean.detach(), (0.5 * log_variance).exp().detach(), h[1])
        return replace(super().forward(h, samples), evidence=(summary,))


def _moments(h: Tree) -> tuple[Tensor, Tensor]:
    """Mean and log-variance of each expert, (B, M, Z)."""
    mean, log_variance = h[0].chunk(2, -1)
    return mean, log_variance.clamp(*LOG_VARIANCE)
