"""The unscented transform of a Gaussian posterior: the mean of decoded sigma points."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.distributions import Distribution

from narrows.bottlenecks.gaussian.full import scale
from narrows.core import Autoencoder, Batch, Loss, Objective, Pass
from narrows.core.check import RequestError, whole
from narrows.core.schedules import Schedule
from narrows.objectives.jacobian import jacobian_norm

__all__ = ["Unscented", "sigma_points", "wasserstein_to_standard"]


def sigma_points(q: Distribution, points: int = 0) -> Tensor:
    r"""Points around the mean of a Gaussian whose mean and covariance are those of the Gaussian.

    .. math:: z_{j\pm} = \mu \pm \sqrt{Z}\, L_{:,j},\qquad L L^T = \Sigma

    The mean of a function over all 2 Z points is exact if the function is quadratic.

    Args:
        q: batch shape (B,), events (Z,).
        points: number of points, S, drawn for each example without replacement; all, in order, if 0 or 2 Z.

    Returns:
        (S, B, Z).

    Example:
        >>> from narrows.bottlenecks.gaussian.diagonal import normal
        >>> sigma_points(normal(torch.tensor([[3.0, 0.0]])))
        tensor([[[4.]],
        <BLANKLINE>
                [[2.]]])

    Reference:
        Uhlmann, Dynamic map building and localization: new theoretical foundations, 1995.
    """
    mean, factor = q.mean, scale(q)
    width = mean.shape[-1]
    columns = math.sqrt(width) * factor.mT
    around = torch.cat([columns, -columns], -2)  # (B, 2 Z, Z)
    if points not in (0, 2 * width):
        chosen = torch.rand(around.shape[:-1], device=mean.device).topk(points, -1).indices
        around = around.gather(-2, chosen.unsqueeze(-1).expand(*chosen.shape, width))
    return (mean.unsqueeze(-2) + around).movedim(-2, 0)


def wasserstein_to_standard(q: Distribution) -> Tensor:
    r"""The squared Wasserstein distance of order 2 of Gaussians from N(0, I).

    .. math:: \|\mu\|^2 + \|\Sigma^{1/2} - I\|_F^2 = \|\mu\|^2 + \|L\|_F^2 + Z - 2 \sum_j s_j(L)

    Args:
        q: batch shape (B,), events (Z,); s are the singular values of L.

    Returns:
        (B,).

    Example:
        >>> from narrows.bottlenecks.gaussian.diagonal import normal
        >>> wasserstein_to_standard(normal(torch.tensor([[3.0, 0.0]])))
        tensor([9.])
    """
    factor = scale(q)
    roots = torch.linalg.svdvals(factor).sum(-1)
    return q.mean.square().sum(-1) + factor.square().sum((-1, -2)) + factor.shape[-1] - 2 * roots


class Unscented(Objective):
    r"""The distortion of the mean of decoded sigma points, and penalties of the posterior and the decoder.

    .. math:: D\Big(x, \frac1S \sum_i f(z_i)\Big)
              + w \left( \|\mu\|^2 + \|\Sigma^{1/2} - I\|_F^2 \right)
              + c\, \lambda_{\max}(\Sigma) \left\| \frac{\partial f(\mu)}{\partial \mu} \right\|_F^2

    The outputs of the decoder are averaged, then compared with the example once: the mean of S losses would be another
    objective. The squared norm of the Jacobian is estimated with one random direction of the output.

    Args:
        points: S; all 2 Z if 0.
        weight: w.
        smoothness: c.

    Raises:
        RequestError: `points` is negative, or the posterior no Gaussian.

    Reference:
        Janjos, Rosenbaum, Dolgov, Zoellner, Unscented Autoencoder, 2023, section 4. arXiv:2306.05256
    """

    def __init__(self, points: int = 8, weight: Schedule = 1e-2, smoothness: Schedule = 1e-2) -> None:
        super().__init__(weights={"kl": 0.0, "distance": weight, "smoothness": smoothness})
        self.points = whole("points", points, low=0)

    def forward(self, model: Autoencoder, batch: Batch, step: int = 0) -> Loss:
        """The loss of a batch."""
        batch = batch.visible()
        features = model.encoder(batch.x, batch.condition)
        code = model.bottleneck(features)
        if code.q is None:
            raise RequestError("Sigma points need a Gaussian posterior.")
        z = sigma_points(code.q, self.points)
        passed = Pass(batch, replace(code, z=z), model.decode(z, batch.condition), features)
        return self.of(model, passed, step)

    def distortion(self, model: Autoencoder, passed: Pass) -> Tensor:
        """-log p(target | mean output), (B,)."""
        output = passed.output.mean(0) if passed.code.z.ndim > 2 else passed.output
        return model.likelihood.nll(output, passed.batch.target, passed.weight)

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The distance of each posterior from N(0, I), and the norm of the decoder's Jacobian, (B,)."""
        q = passed.code.q
        assert q is not None
        largest = torch.linalg.matrix_norm(scale(q), ord=2).square()
        slope = jacobian_norm(lambda z: model.decode(z, passed.batch.condition), q.mean)
        return {"distance": wasserstein_to_standard(q), "smoothness": largest * slope}
