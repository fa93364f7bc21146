"""Likelihoods of counts: Poisson, negative binomial, and negative binomial with additional zeros."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Poisson as PoissonDistribution

from narrows.core import Likelihood
from narrows.core.values import is_vectorised
from narrows.likelihoods.normal import bounded

__all__ = ["GivenTotal", "NegativeBinomial", "Poisson", "ZeroInflated"]

_LOG_MEAN = 20.0
"""The largest absolute log-mean."""
_LARGE = 100.0
"""The dispersion from which Stirling's series is used."""


def _mean(log_mean: Tensor) -> Tensor:
    return bounded(log_mean, -_LOG_MEAN, _LOG_MEAN)


def _log_rising(x: Tensor, t: Tensor) -> Tensor:
    """log Gamma(x + t) - log Gamma(t), for large t without a difference of large numbers."""
    large = t.clamp_min(_LARGE)
    series = (large - 0.5) * (x / large).log1p() + x * (x + large).log() - x
    series = series + (1 / (x + large) - 1 / large) / 12
    small = t.clamp_max(_LARGE)
    return torch.where(t > _LARGE, series, (x + small).lgamma() - small.lgamma())


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
        log_mean = _mean(parameters)
        return log_mean.exp() - x * log_mean + (x + 1).lgamma()

    def mean(self, parameters: Tensor) -> Tensor:
        """The means."""
        return _mean(parameters).exp()

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
        return self._terms(_mean(parameters), x)

    def mean(self, parameters: Tensor) -> Tensor:
        """The means."""
        return _mean(parameters).exp()

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw: a Poisson variable whose mean is a draw of a gamma distribution."""
        dispersion = bounded(self.log_dispersion).exp()
        rate = torch.distributions.Gamma(dispersion, dispersion / _mean(parameters).exp()).sample()
        return PoissonDistribution(rate, validate_args=False).sample()

    def _terms(self, log_mean: Tensor, x: Tensor) -> Tensor:
        """-log p of each element, from log m and log t without a quotient of large numbers."""
        log_t = bounded(self.log_dispersion)
        t, odds = log_t.exp(), log_mean - log_t
        return self._counted(x, t) + t * F.softplus(odds) + x * F.softplus(-odds)

    def _counted(self, x: Tensor, t: Tensor) -> Tensor:
        """log x! Gamma(t) / Gamma(x + t): 0 where x is 0, which most counts are, so that only others are computed."""
        if is_vectorised():
            return (x + 1).lgamma() - _log_rising(x, t)
        there = x > 0
        some, dispersion = x[there], t.expand_as(x)[there]
        return torch.zeros_like(x, dtype=dispersion.dtype).masked_scatter(
            there, (some + 1).lgamma() - _log_rising(some, dispersion)
        )


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
        return _mean(log_mean), logit


class GivenTotal(Likelihood):
    r"""Counts whose total is given: their means are shares of it.

    .. math:: p(x \mid s, l) = \prod_d p(x_d \mid e^l \rho_d),\quad \rho = \mathrm{softmax}(s),\quad
              l = \log \sum_d x_d

    The decoder's output is s, the other parameters of the likelihood, and the log-total l that it was told, with which
    `mean` and `sample` are computed. `nll` reads l from the counts, so that it is always that of x given its own total.

    Args:
        counts: the likelihood of counts with log-means: `Poisson`, `NegativeBinomial` or `ZeroInflated`.

    Example:
        >>> model = GivenTotal(Poisson((2,)))
        >>> model.mean(torch.tensor([[0.0, 0.0, 1.0]])).sum()
        tensor(2.7183)
        >>> model.nll(torch.zeros(1, 3), torch.tensor([[1.0, 1.0]]))
        tensor([2.])

    Reference:
        Lopez et al., Deep Generative Modeling for Single-Cell Transcriptomics, 2018.
    """

    def __init__(self, counts: Likelihood) -> None:
        super().__init__(counts.shape)
        self.counts, self.channels = counts, counts.channels

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """The parameters of the counts, and the log-total."""
        return (self.counts.parameter_shape[0] + 1,)

    def elements_nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log p of each count given their total, (*samples, B, D)."""
        return self.counts.elements_nll(self._of(parameters, x.sum(-1, keepdim=True).log()), x)

    def mean(self, parameters: Tensor) -> Tensor:
        """The means for the total that the decoder was told."""
        return self.counts.mean(self._of(parameters, parameters[..., -1:]))

    def rates(self, parameters: Tensor) -> Tensor:
        """The means without additional zeros, which are the denoised counts, for the total that it was told."""
        genes = self.shape[0]
        return self._of(parameters, parameters[..., -1:])[..., :genes].exp()

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw; its total has the one that the decoder was told as mean."""
        return self.counts.sample(self._of(parameters, parameters[..., -1:]))

    def _of(self, parameters: Tensor, log_total: Tensor) -> Tensor:
        """Parameters of the counts, (..., channels * D)."""
        genes = self.shape[0]
        log_mean = parameters[..., :genes].log_softmax(-1) + log_total
        return torch.cat([log_mean, parameters[..., genes:-1]], -1)
