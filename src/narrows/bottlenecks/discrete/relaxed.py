"""Categorical latents beside Gaussian ones, relaxed by Gumbel-softmax in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, constraints

from narrows.bottlenecks.gaussian.diagonal import Diagonal, Gaussian, kl, normal
from narrows.bottlenecks.variational import Variational, ratio
from narrows.core import Code, Tree
from narrows.core.check import positive, refuse, whole

__all__ = ["GaussianCategorical", "Joint"]


class Joint(Distribution):
    """A diagonal Gaussian beside independent categorical variables, which are one-hot.

    Args:
        continuous: the Gaussian, events (Z,).
        logits: the normalised log-probabilities of each categorical variable, (..., K_i).
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, continuous: Diagonal, logits: Sequence[Tensor]) -> None:
        self.continuous, self.logits = continuous, tuple(logits)
        self.widths = tuple(one.shape[-1] for one in self.logits)
        self.size = continuous.event_shape[0]
        event = torch.Size([self.size + sum(self.widths)])
        super().__init__(continuous.batch_shape, event, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The means of the Gaussian, then the probabilities."""
        return torch.cat([self.continuous.mean, *(one.exp() for one in self.logits)], -1)

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate."""
        each = (one.exp() for one in self.logits)
        return torch.cat([self.continuous.variance, *(p * (1 - p) for p in each)], -1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw z and one-hot vectors, (*samples, ..., Z + sum of K_i)."""
        with torch.no_grad():
            return self.draw(tuple(sample_shape))

    def draw(self, samples: tuple[int, ...] = (), temperature: float = 0.0) -> Tensor:
        """The same with gradients to the Gaussian, and at a temperature above 0 to relaxed one-hot vectors."""
        parts = [self.continuous.rsample(samples)]
        for one in self.logits:
            uniform = torch.rand(*samples, *one.shape, dtype=one.dtype, device=one.device)
            tiny = torch.finfo(one.dtype).tiny
            noisy = one - (-uniform.clamp_min(tiny).log()).clamp_min(tiny).log()  # Gumbel noise
            hard = temperature == 0
            drawn = F.one_hot(noisy.argmax(-1), one.shape[-1]).to(one) if hard else noisy / temperature
            parts.append(drawn if hard else drawn.softmax(-1))
        return torch.cat(parts, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log of the density of z times the probability of the one-hot vectors."""
        z, *discrete = value.split((self.size, *self.widths), -1)
        total: Tensor = self.continuous.log_prob(z)
        for one, logits in zip(discrete, self.logits, strict=True):
            # a probability of 0 counts only where it is drawn
            total = total + torch.where(one != 0, one * logits, 0.0).sum(-1)
        return total


class GaussianCategorical(Variational):
    r"""Z Gaussian latents with the prior N(0, I), and categorical ones with uniform priors.

    .. math:: \mathrm{kl/continuous} = \mathrm{KL}(q(z|x)\,\|\,N(0, I)),\qquad
              \mathrm{kl/discrete} = \sum_i \log K_i - H(q(c_i|x))

    In training a categorical latent is relaxed: softmax((log q + Gumbel noise) / tau). Its divergence is that
    of the probabilities, which is at most log K, not of the relaxed sample or of its density. With `samples`,
    draws are one-hot, and the costs are log-ratios, so that importance weights are those of the model with
    one-hot codes. In `eval()` the code is the mean and the most probable category.

    Features are means and log-variances, then the logits: (B, 2Z + sum of K_i).

    Args:
        latent: number of Gaussian latents, Z.
        categories: the number of categories of each categorical latent, K_i.
        temperature: tau, above 0; smaller is nearer to one-hot, with gradients of larger variance.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> code = GaussianCategorical(2, (3,))(torch.zeros(5, 7))
        >>> code.z.shape, code.costs["kl/discrete"]
        (torch.Size([5, 5]), tensor([0., 0., 0., 0., 0.]))

    Reference:
        Dupont, Learning Disentangled Joint Continuous and Discrete Representations, 2018. arXiv:1804.00104
        Jang, Gu, Poole, Categorical Reparameterization with Gumbel-Softmax, 2017. arXiv:1611.01144
    """

    def __init__(self, latent: int, categories: Sequence[int] = (10,), temperature: float = 0.67) -> None:
        super().__init__()
        if not categories:
            raise refuse("categories", tuple(categories), "a number of categories", "Try (10,).")
        self.categories = tuple(whole("categories", count, low=2) for count in categories)
        self.continuous = Gaussian(latent)
        self.temperature = positive("temperature", temperature, "Try 0.67.")

    @property
    def width(self) -> int:
        """The width of the code, Z + sum of K_i."""
        return self.continuous.latent + sum(self.categories)

    def posterior(self, h: Tree) -> Joint:
        """q(z, c | x) from features (B, 2Z + sum of K_i)."""
        gaussian, *logits = h.split((2 * self.continuous.latent, *self.categories), -1)
        return Joint(normal(gaussian), [one.log_softmax(-1) for one in logits])

    def prior(self) -> Joint:
        """N(0, I), and uniform categories."""
        uniform = [self.continuous.zero.new_zeros(count).log_softmax(-1) for count in self.categories]
        return Joint(self.continuous.standard(), uniform)

    def centre(self, q: Distribution) -> Tensor:
        """The mean, and the most probable category."""
        assert isinstance(q, Joint)
        hard = [F.one_hot(one.argmax(-1), one.shape[-1]).to(one) for one in q.logits]
        return torch.cat([q.continuous.mean, *hard], -1)

    def features(self, code: Code) -> Tensor:
        """The means and the probabilities, (B, Z + sum of K_i)."""
        assert code.q is not None
        mean: Tensor = code.q.mean
        return mean

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Draw the code that the features describe."""
        q, p = self.posterior(h), self.prior()
        if samples:
            z = q.draw(samples)
            continuous = ratio(z[..., : self.continuous.latent], q.continuous, p.continuous)
            return Code(z, _costs(continuous, ratio(z, q, p) - continuous), q, p)
        z = q.draw((), self.temperature) if self.training else self.centre(q)
        free = [(one.exp() * (one - prior)).sum(-1) for one, prior in zip(q.logits, p.logits, strict=True)]
        return Code(z, _costs(kl(q.continuous), sum(free[1:], free[0])), q, p)


def _costs(continuous: Tensor, discrete: Tensor) -> dict[str, Tensor]:
    return {"kl/continuous": continuous, "kl/discrete": discrete}
