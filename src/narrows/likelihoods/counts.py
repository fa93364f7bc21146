"""Likelihoods of counts: Poisson, negative binomial, and negative binomial with additional zeros."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Poisson as PoissonDistribution

from narrows.core import Likelihood
from narrows.likelihoods.normal import bounded

__all__ = ["NegativeBinomial", "Poisson", "ZeroInflated"]


class Poisson(Likelihood):
    r"""Independent Poisson variables, whose log-means are the decoder's output l.

    .. math:: -\log p(x \mid l) = \sum_d e^{l_d} - x_d l_d + \log x_d!

    Args:
        shape: shape of one target.

    Example:
        >>> Poisson((2,)).nll(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]))
        tensor([2.])
    """

    def elements_nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log p of each count, (*samples, B, *shape)."""
        log_mean = bounded(parameters)
        return log_mean.exp() - x * log_mean + (x + 1).lgamma()

    def mean(self, parameters: Tensor) -> Tensor:
        """The means."""
        return bounded(parameters).exp()

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw."""
        return torch.poisson(self.mean(parameters))


class NegativeBinomial(Likelihood):
    r"""Independent negative binomials: log-means from the decoder, and a learned dispersion t of each element.

    .. math:: -\log p(x \mid m, t) = \sum_d \log\frac{\Gamma(t_d)\, x_d!}{\Gamma(x_d + t_d)}
              - t_d \log\frac{t_d}{t_d + m_d} - x_d \log\frac{m_d}{t_d + m_d}

    The mean is m and the variance m + m^2 / t; for large t it is a Poisson variable.

    Args:
        shape: shape of one target.

    Example:
        >>> NegativeBinomial((1,)).nll(torch.zeros(1, 1), torch.tensor([[0.0]])).exp()
        tensor([2.], grad_fn=<ExpBackward0>)

    Reference:
        Lopez et al., Deep Generative Modeling for Single-Cell Transcriptomics, 2018.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        self.log_dispersion = nn.Parameter(torch.zeros(self.shape))

    def elements_nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log p of each count, (*samples, B, *shape)."""
        return self._terms(bounded(parameters), x)

    def mean(self, parameters: Tensor) -> Tensor:
        """The means."""
        return bounded(parameters).exp()

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw: a Poisson variable whose mean is a draw of a gamma distribution."""
        dispersion = bounded(self.log_dispersion).exp()
        rate = torch.distributions.Gamma(dispersion, dispersion / bounded(parameters).exp()).sample()
        return PoissonDistribution(rate, validate_args=False).sample()

    def _terms(self, log_mean: Tensor, x: Tensor) -> Tensor:
        """-log p of each element, from log m and log t without a quotient of large numbers."""
        log_t = bounded(self.log_dispersion)
        t, odds = log_t.exp(), log_mean - log_t
        counted = t.lgamma() - (x + t).lgamma() + (x + 1).lgamma()
        return counted + t * F.softplus(odds) + x * F.softplus(-odds)


class ZeroInflated(NegativeBinomial):
    r"""A negative binomial variable, or with probability pi a zero; the decoder puts out log m and logit pi.

    .. math:: p(x) = \pi\, [x = 0] + (1 - \pi)\, \mathrm{NB}(x \mid m, t)

    Args:
        shape: shape of one target.

    Example:
        >>> ZeroInflated((1,)).nll(torch.zeros(1, 2), torch.tensor([[0.0]])).exp()
        tensor([1.3333], grad_fn=<ExpBackward0>)

    Reference:
        Lopez et al., Deep Generative Modeling for Single-Cell Transcriptomics, 2018.
    """

    channels = 2

    def elements_nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log p of each count, (*samples, B, *shape)."""
        log_mean, logit = self._split(parameters)
        drawn = -F.softplus(logit) - self._terms(log_mean, x)
        zero = torch.logaddexp(-F.softplus(-logit), drawn)
        return -torch.where(x == 0, zero, drawn)

    def mean(self, parameters: Tensor) -> Tensor:
        """(1 - pi) m."""
        log_mean, logit = self._split(parameters)
        return torch.sigmoid(-logit) * log_mean.exp()

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw."""
        log_mean, logit = self._split(parameters)
        return super().sample(log_mean) * torch.bernoulli(torch.sigmoid(-logit))

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        log_mean, logit = parameters.chunk(2, -len(self.shape))
        return bounded(log_mean), logit
