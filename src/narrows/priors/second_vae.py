"""A second VAE, over draws of the first one's codes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from narrows.bottlenecks.gaussian.diagonal import kl, normal
from narrows.bottlenecks.variational import ratio
from narrows.core import NO_CONDITION, Batch, Code, Condition, Loss, Pass, Symbols
from narrows.core.check import whole
from narrows.nets.mlp import initialise
from narrows.priors.drawn import StandardCodes

__all__ = ["SecondVAE"]

_START = -1.0
"""The initial log standard deviation: at 0, that of the codes, all latents may stay unused."""
_DRAWS = 64
"""Draws of the importance-weighted bound in evaluation."""


class _Net(nn.Module):
    """A perceptron whose last layer sees its input, too."""

    def __init__(self, inputs: int, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(depth):
            layers += [nn.Linear(width if i else inputs, width), nn.SiLU()]
        self.hidden = nn.Sequential(*layers)
        self.out = nn.Linear(width + inputs, outputs)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.cat([self.hidden(x), x], -1))


class SecondVAE(StandardCodes):
    r"""A VAE over codes, with as many latents as a code has numbers and a learned variance.

    .. math:: u \sim N(0, I),\quad z \sim N(g(u), \gamma^2 I),\qquad
              -\log p(z) \le -E_{q(u|z)} \Big[\log \frac{p(z \mid u)\, p(u)}{q(u \mid z)}\Big]

    The codes of a VAE that reconstructs well fill their space, but are not distributed as N(0, I). A second VAE
    of the same dimension learns this distribution. It is trained on draws of the codes, which are standardised first.

    Args:
        latent: width of u; that of a code if 0.
        width: width of the hidden layers.
        depth: number of hidden layers.
        draws: of a code with a posterior, learn draws from it instead of its mean.

    Raises:
        RequestError: the symbols are not real numbers, or an option is out of range.

    Example:
        >>> prior = SecondVAE(Symbols((4,)), width=8)
        >>> prior.sample(2).shape, prior.eval().nll(torch.zeros(3, 4)).shape
        (torch.Size([2, 4]), torch.Size([3]))

    Reference:
        Dai and Wipf, Diagnosing and Enhancing VAE Models, 2019. arXiv:1903.05789
    """

    exact = False

    def __init__(
        self, symbols: Symbols, *, latent: int = 0, width: int = 256, depth: int = 2, draws: bool = True
    ) -> None:
        super().__init__(symbols, draws)
        self.latent = whole("latent", latent, low=0) or self.size
        whole("width", width), whole("depth", depth)
        self.encode = _Net(self.size, 2 * self.latent, width, depth)
        self.decode = _Net(self.latent, self.size, width, depth)
        self.log_scale = nn.Parameter(torch.tensor(_START))

    def _distortion(self, z: Tensor, u: Tensor) -> Tensor:
        """-log p(z | u) of codes in their own scale, (*samples, n)."""
        log_scale = self.log_scale.clamp(-10, 10)
        away = (self.standard(z) - self.decode(u)) / log_scale.exp()
        squares = 0.5 * away.square().sum(-1)
        return squares + self.size * (log_scale + 0.5 * math.log(2 * math.pi)) + self.scale.log().sum()

    def loss(self, batch: Batch, step: int = 0, passed: Pass | None = None) -> Loss:
        """The negative evidence lower bound of draws of the codes."""
        z = self.drawn(batch)
        q = normal(self.encode(self.standard(z)))
        distortion, rate = self._distortion(z, q.rsample()).mean(), kl(q).mean()
        total = distortion + rate
        terms = {"nll": total.detach(), "distortion": distortion.detach(), "kl": rate.detach()}
        return Loss(total, terms, Pass(batch, Code(z)))

    def nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """An upper bound of -log p of codes (n, *shape), in nats, (n,): importance-weighted with 64 draws."""
        z = symbols.flatten(1)
        q = normal(self.encode(self.standard(z)))
        u, one = q.rsample((_DRAWS,)), torch.ones_like(q.base_dist.loc)
        p = type(q)(torch.distributions.Normal(torch.zeros_like(one), one, validate_args=False), 1)
        return math.log(_DRAWS) - (-self._distortion(z, u) - ratio(u, q, p)).logsumexp(0)

    @torch.no_grad()
    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Tensor:
        """n codes (n, *shape), in their own scale."""
        u = torch.randn(n, self.latent, dtype=self.shift.dtype, device=self.shift.device)
        mean = self.decode(u)
        z = mean + self.log_scale.clamp(-10, 10).exp() * torch.randn_like(mean)
        return self.own(z)
