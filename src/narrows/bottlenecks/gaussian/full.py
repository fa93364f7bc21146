"""A Gaussian posterior with a full covariance."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from narrows.bottlenecks.gaussian.diagonal import LOG_VARIANCE, Gaussian, diagonal
from narrows.core import Tree

__all__ = ["FullGaussian", "scale"]


def scale(q: Distribution) -> Tensor:
    """The Cholesky factor L of the covariance of a Gaussian, (..., Z, Z): covariance L L'.

    Example:
        >>> from narrows.bottlenecks.gaussian.diagonal import normal
        >>> scale(normal(torch.zeros(1, 4)))
        tensor([[[1., 0.],
                 [0., 1.]]])
    """
    if diagonal(q):
        return torch.diag_embed(q.base_dist.scale)
    if not isinstance(q, MultivariateNormal):
        raise NotImplementedError(f"{type(q).__name__} has no Cholesky factor")
    return q.scale_tril


class FullGaussian(Gaussian):
    r"""q(z | x) = N(mu(x), L(x) L(x)') with the prior N(0, I).

    .. math:: z = \mu + L \epsilon,\qquad
              \mathrm{kl} = \tfrac12 \big( \|L\|_F^2 + \|\mu\|^2 - Z \big) - \sum_j \log L_{jj}

    The features of an example are the mean, the logarithms of the squared diagonal of L, and what is below the
    diagonal, row by row: `features_of` is their number.

    Args:
        latent: the width of the code, Z.

    Example:
        >>> code = FullGaussian(2)(torch.zeros(3, FullGaussian.features_of(2)), samples=(5,))
        >>> code.z.shape, code.q.covariance_matrix[0].tolist()
        (torch.Size([5, 3, 2]), [[1.0, 0.0], [0.0, 1.0]])
    """

    def __init__(self, latent: int) -> None:
        super().__init__(latent)

    @staticmethod
    def features_of(latent: int) -> int:
        """The number of features that describe the posterior of one example."""
        return 2 * latent + latent * (latent - 1) // 2

    def posterior(self, h: Tree) -> Distribution:
        """The posterior that the features describe."""
        mean, log_squares, below = h.split([self.latent, self.latent, h.shape[-1] - 2 * self.latent], dim=-1)
        factor = torch.diag_embed((0.5 * log_squares.clamp(*LOG_VARIANCE)).exp())
        row, column = torch.tril_indices(self.latent, self.latent, -1, device=h.device)
        factor = factor.index_put((torch.arange(len(h), device=h.device)[:, None], row, column), below)
        return MultivariateNormal(mean, scale_tril=factor, validate_args=False)

    def divergence(self, q: Distribution, p: Distribution) -> Tensor | None:
        """KL(q || N(0, I)) in closed form."""
        factor = scale(q)
        size = factor.square().sum((-1, -2)) + q.mean.square().sum(-1) - self.latent
        return 0.5 * size - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
