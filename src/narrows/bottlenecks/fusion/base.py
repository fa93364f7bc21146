"""What every fusion of experts answers: the posterior of the modalities that are present."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from narrows.core import Part

__all__ = ["Fusion"]


class Fusion(Part):
    """From one diagonal Gaussian expert a modality to q(z | the modalities that are present).

    A subclass is one file: a product, a mixture, a mixture of products. What it returns is a distribution with
    `rsample`, `log_prob` and `mean`; where it is a diagonal Gaussian its divergence from the prior is closed, else
    the bottleneck takes log q(z) - log p(z) at the draws.
    """

    def posterior(self, mean: Tensor, log_variance: Tensor, present: Tensor) -> Distribution:
        """The distribution of z given the present modalities.

        Args:
            mean: of each expert, (B, M, Z).
            log_variance: of each expert, (B, M, Z).
            present: which experts count, (*subsets, B, M) bool. What an absent expert says is not read.

        Returns:
            A distribution of (*subsets, B, Z), its last axis one event.
        """
        raise NotImplementedError(f"{type(self).__name__} must define posterior")
