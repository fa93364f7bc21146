"""Penalties on the mean and the covariance of a batch of codes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from narrows.bottlenecks.gaussian.diagonal import diagonal
from narrows.core import Autoencoder, Objective, Pass
from narrows.core.check import RequestError, choice, whole
from narrows.core.schedules import Schedule

__all__ = ["Covariance", "covariance"]

KINDS = ("i", "ii")


def covariance(mean: Tensor, variance: Tensor | None = None) -> Tensor:
    r"""The covariance of a batch of codes: of their means, or of draws around them.

    .. math:: C = \frac1B \sum_i (\mu_i - \bar\mu)(\mu_i - \bar\mu)^T
              + \frac1B \sum_i \mathrm{diag}(\sigma_i^2)

    Args:
        mean: mu, (B, Z).
        variance: sigma^2, (B, Z), or None for the covariance of the means.

    Returns:
        (Z, Z).

    Example:
        >>> covariance(torch.tensor([[1.0, 2.0], [-1.0, -2.0]]))
        tensor([[1., 2.],
                [2., 4.]])
    """
    centred = mean - mean.mean(0)
    found = centred.T @ centred / len(mean)
    return found if variance is None else found + variance.mean(0).diag()


class Covariance(Objective):
    r"""The negative evidence lower bound, and the distance of the codes' covariance from the identity.

    .. math:: -E[\log p(x|z)] + \beta\, \mathrm{KL} + \lambda_{od} \sum_{i \ne j} C_{ij}^2
              + \lambda_d \sum_i (C_{ii} - 1)^2

    Both penalties are one number for a batch, whose weight is relative to the distortion of one example.

    Args:
        kind: ``i``, C is the covariance of the posterior means; ``ii``, that of draws from the posteriors, which adds
            the mean of their variances to the diagonal.
        weight: lambda_od, of the term ``off_diagonal``.
        diagonal: lambda_d, of the term ``diagonal``.
        beta: weight of the KL divergence.
        least_batch: the smallest batch that is trained on: with fewer examples than latents the covariance is
            singular.

    Raises:
        RequestError: an unknown `kind`, or `least_batch` below 1.

    Reference:
        Kumar, Sattigeri, Balakrishnan, Variational Inference of Disentangled Latent Concepts from Unlabeled
        Observations, 2018, section 2. arXiv:1711.00848
    """

    def __init__(
        self,
        kind: str = "i",
        weight: Schedule = 10.0,
        diagonal: Schedule = 100.0,
        beta: Schedule = 1.0,
        least_batch: int = 1,
    ) -> None:
        super().__init__(weights={"kl": beta, "off_diagonal": weight, "diagonal": diagonal})
        self.kind = choice("type", kind, KINDS)
        self.least_batch = whole("least_batch", least_batch)

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The distances of the covariance from the identity, off the diagonal and on it, scalars."""
        q = passed.code.q
        if not diagonal(q):
            raise RequestError("The covariance of draws needs a diagonal Gaussian posterior.")
        found = covariance(q.mean, q.variance if self.kind == "ii" else None)
        variances = found.diagonal()
        rest = found.square().sum() - variances.square().sum()
        return {"off_diagonal": rest, "diagonal": (variances - 1).square().sum()}
