"""The interface of the fusion of experts: the posterior given the modalities that are present."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from narrows.core import Part

__all__ = ["Fusion"]


class Fusion(Part):
    """Combines one diagonal Gaussian expert per modality into q(z | the present modalities).

    Subclasses are products, mixtures and mixtures of products. They return a distribution with `rsample`,
    `log_prob` and `mean`; for a diagonal Gaussian the KL divergence from the prior is closed, otherwise see
    `Variational`.
    """

    def posterior(self, mean: Tensor, log_variance: Tensor, present: Tensor) -> Distribution:
        """The distribution of z given the present modalities.

        Args:
            mean: means of the experts, (B, M, Z).
            log_variance: log-variances of the experts, (B, M, Z).
            present: mask of the present modalities, (*subsets, B, M) bool; absent experts are ignored.

        Returns:
            A distribution over (*subsets, B, Z), its last axis one event.
        """
        raise NotImplementedError(f"{type(self).__name__} must define posterior")
