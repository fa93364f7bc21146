"""The product of Gaussian experts: precisions add up, and an absent expert has precision 0."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from narrows.bottlenecks.fusion.base import Fusion
from narrows.bottlenecks.gaussian.diagonal import Diagonal

__all__ = ["Product"]


class Product(Fusion):
    r"""q(z | x_A) proportional to p(z) times the experts of the present modalities A.

    .. math:: \frac{1}{\sigma^2} = 1 + \sum_{m \in A} \frac{1}{\sigma_m^2},\qquad
              \frac{\mu}{\sigma^2} = \sum_{m \in A} \frac{\mu_m}{\sigma_m^2}

    The 1 is the precision of the prior N(0, I), which is always one of the experts: without any modality the
    posterior is the prior. Precisions are summed in log space for numerical stability.

    Args:
        prior: include the prior as an expert. Without it at least one modality must be present.

    Example:
        >>> mean, log_variance = torch.tensor([[[1.0], [3.0]]]), torch.zeros(1, 2, 1)
        >>> both, second = Product(), torch.tensor([[False, True]])
        >>> both.posterior(mean, log_variance, torch.ones(1, 2, dtype=torch.bool)).mean
        tensor([[1.3333]])
        >>> both.posterior(mean, log_variance, second).mean
        tensor([[1.5000]])

    Reference:
        Wu and Goodman, Multimodal Generative Models for Scalable Weakly-Supervised Learning, 2018, section
        2.2. arXiv:1802.05335; Hinton, Training Products of Experts, 2002.
    """

    def __init__(self, prior: bool = True) -> None:
        super().__init__()
        self.prior = prior

    def posterior(self, mean: Tensor, log_variance: Tensor, present: Tensor) -> Diagonal:
        """The product of the present experts, (*subsets, B, Z)."""
        counts = present.unsqueeze(-1)
        log_precision = torch.where(counts, -log_variance, -torch.inf)
        if self.prior:
            log_precision = torch.cat([log_precision, torch.zeros_like(log_precision[..., :1, :])], -2)
        total = log_precision.logsumexp(-2)
        share = (log_precision - total.unsqueeze(-2)).exp()[..., : mean.shape[-2], :]
        centre = (share * torch.where(counts, mean, 0.0)).sum(-2)
        return Independent(Normal(centre, (-0.5 * total).exp(), validate_args=False), 1, validate_args=False)
