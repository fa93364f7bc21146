"""Codes whose means have the moments of the prior, free variances, and a critic of reconstructions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.bottlenecks.gaussian.diagonal import diagonal
from narrows.core import Autoencoder, Loss, Pass
from narrows.core.check import RequestError, whole
from narrows.core.schedules import Schedule
from narrows.objectives.adversarial import Adversary
from narrows.objectives.perceptual import compared

__all__ = ["BatchMoments", "moments_kl"]

_LEAST = 1e-6
"""The least variance of a batch, so that the loss of one example is finite."""


def moments_kl(z: Tensor) -> Tensor:
    r"""The KL divergence of the Gaussian with mean and variances of a batch of codes from N(0, I), in nats.

    .. math:: \tfrac12 \sum_j v_j + m_j^2 - 1 - \log v_j

    Args:
        z: (B, Z).

    Example:
        >>> moments_kl(torch.tensor([[1.0], [3.0]]))
        tensor(2.)
    """
    mean, variance = z.mean(0), z.var(0, correction=0).clamp_min(_LEAST)
    return 0.5 * (variance + mean.square() - 1 - variance.log()).sum()


class BatchMoments(Adversary):
    r"""Distortion, the moments of a batch of means, the variances of the posteriors, and a critic.

    .. math:: a\, E[-\log p(x|z)] + \mathrm{KL}(N(m, \mathrm{diag}\, v)\,\|\,N(0, I))
              + b\, E \sum_j (\sigma_j^2 - 1 - \log \sigma_j^2) - c\, E[\log D(\hat x)]

    m and v are mean and variance of the posterior means over the batch: all examples together follow the prior, while
    the KL divergence of a single posterior has no weight. The moments are one number for a batch, whose weight is
    relative to the distortion of one example. The critic is trained to tell examples from reconstructions by
    cross-entropy, a mean over its patches.

    Args:
        critic: from examples (B, ...) to scores (B, P), logits of D, one per patch.
        distortion: a.
        variance: b, which keeps the variances from 0.
        adversary: c, the weight of the term ``fool``.
        optimizer: optimizer of both players; the trainer's if None.
        least_batch: the smallest batch that is trained on.

    Raises:
        RequestError: `least_batch` is below 1.

    Reference:
        Rivera, How to train your VAE, 2023, equations 8 to 10. arXiv:2309.13160
    """

    def __init__(
        self,
        critic: nn.Module,
        *,
        distortion: Schedule = 1.0,
        variance: Schedule = 0.1,
        adversary: Schedule = 100.0,
        optimizer: str | None = None,
        least_batch: int = 1,
    ) -> None:
        weights = {"distortion": distortion, "kl": 0.0, "variance": variance, "fool": adversary}
        super().__init__(critic, weights=weights, optimizer=optimizer)
        self.least_batch = whole("least_batch", least_batch)

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The moments, a scalar, and of each example its variances and the critic's verdict, (B,)."""
        q = passed.code.q
        if not diagonal(q):
            raise RequestError("The moments of means and variances need a diagonal Gaussian posterior.")
        variance = q.variance
        return {
            "moments": moments_kl(q.mean),
            "variance": (variance - 1 - variance.log()).sum(-1),
            "fool": F.softplus(-self.critic(compared(model, passed)[1])).mean(-1),
        }

    def judge(self, model: Autoencoder, passed: Pass, step: int = 0) -> Loss:
        """The critic's cross-entropy; reconstructions are detached."""
        with torch.no_grad():
            target, made = compared(model, passed)
        real, fake = self.critic(target.detach()), self.critic(made.detach())
        total = F.softplus(-real).mean() + F.softplus(fake).mean()
        accuracy = 0.5 * ((real > 0).float().mean() + (fake < 0).float().mean())
        return Loss(total, {"judge": total.detach(), "accuracy": accuracy})
