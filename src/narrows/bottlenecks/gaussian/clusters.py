"""A Gaussian code in one of several clusters, with a posterior of the cluster."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from narrows.bottlenecks.gaussian.diagonal import Diagonal, draw, kl, normal
from narrows.bottlenecks.variational import ratio
from narrows.core import NO_CONDITION, Bottleneck, Code, Condition, Tree
from narrows.core.check import positive, whole
from narrows.core.schedules import Schedule, at, schedule

__all__ = ["GaussianClusters"]


class GaussianClusters(Bottleneck):
    r"""A cluster c with a uniform prior, and a Gaussian code z around the centre of its cluster; both are decoded.

    .. math:: p(c) = 1/S,\quad p(z|c) = N(\mu_c, I),\qquad q(c|x)\, q(z|x, c),\qquad
              \mathrm{kl/cluster} = \mathrm{KL}(q(c|x)\,\|\,p(c)),\quad
              \mathrm{kl/code} = \sum_c q(c|x)\, \mathrm{KL}(q(z|x,c)\,\|\,p(z|c))

    Features are means and log-variances of q(z | x, c) up to a vector for each cluster, then the logits of q(c | x):
    (B, 2Z + S). The code is z beside c, (B, Z + S). In training c is relaxed: softmax((log q + Gumbel noise) / tau).
    With `samples`, c is one-hot and the costs are log-ratios, so that importance weights are exact. In `eval()` the
    code is the most probable cluster and its mean.

    Args:
        latent: width of z, Z.
        clusters: their number, S.
        temperature: tau, above 0, a number or a schedule.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> code = GaussianClusters(2, 3)(torch.zeros(5, 7), samples=(4,))
        >>> code.z.shape, sorted(code.costs)
        (torch.Size([4, 5, 5]), ['kl/cluster', 'kl/code'])

    Reference:
        Nazabal, Olmos, Ghahramani and Valera, Handling Incomplete Heterogeneous Data using VAEs, 2020. arXiv:1807.03653
    """

    temperature: Tensor

    def __init__(self, latent: int, clusters: int = 10, temperature: Schedule = 1.0) -> None:
        super().__init__()
        self.latent, self.clusters = whole("latent", latent), whole("clusters", clusters)
        self.schedule = schedule(temperature, "temperature")
        self.register_buffer("temperature", torch.tensor(positive("temperature", at(self.schedule, 0))))
        self.centres = nn.Parameter(torch.randn(self.clusters, self.latent))
        self.shift = nn.Parameter(torch.zeros(self.clusters, 2 * self.latent))

    @property
    def width(self) -> int:
        """The width of the code, Z + S."""
        return self.latent + self.clusters

    def before_step(self, step: int) -> None:
        """Set the temperature of the step."""
        self.temperature.fill_(at(self.schedule, step))

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Draw a cluster, and a code in it, from features (B, 2Z + S)."""
        features, logits = h.split((2 * self.latent, self.clusters), -1)
        log_q = logits.log_softmax(-1)
        c = self._cluster(log_q, samples)
        q, p = normal(features + c @ self.shift), self._around(c)
        z = q.rsample() if self.training or samples else draw(q, mean=True)
        if samples:
            nats = {
                "kl/cluster": (c * log_q).sum(-1) + math.log(self.clusters),
                "kl/code": ratio(z, q, p),
            }
        else:
            each = kl(normal(features[:, None] + self.shift), self._around(torch.eye(self.clusters).to(c)))
            nats = {
                "kl/cluster": (log_q.exp() * log_q).sum(-1) + math.log(self.clusters),
                "kl/code": (log_q.exp() * each).sum(-1),
            }
        return Code(torch.cat([z, c], -1), nats)

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw n codes from the prior, (n, Z + S)."""
        index = torch.randint(self.clusters, (n,), device=self.centres.device)
        c = F.one_hot(index, self.clusters).to(self.centres)
        return Code(torch.cat([self._around(c).sample(), c], -1))

    def _cluster(self, log_q: Tensor, samples: tuple[int, ...]) -> Tensor:
        """Clusters (*samples, B, S): relaxed in training, one-hot with `samples`, in `eval()` the most probable."""
        hard = bool(samples) or not self.training
        if samples or self.training:
            tiny = torch.finfo(log_q.dtype).tiny
            uniform = torch.rand(*samples, *log_q.shape, dtype=log_q.dtype, device=log_q.device)
            noisy = log_q - (-uniform.clamp_min(tiny).log()).clamp_min(tiny).log()
        else:
            noisy = log_q
        if hard:
            return F.one_hot(noisy.argmax(-1), self.clusters).to(log_q)
        return (noisy / self.temperature).softmax(-1)

    def _around(self, c: Tensor) -> Diagonal:
        """p(z | c), (..., Z)."""
        mean = c @ self.centres
        return Independent(Normal(mean, torch.ones_like(mean), validate_args=False), 1, validate_args=False)
