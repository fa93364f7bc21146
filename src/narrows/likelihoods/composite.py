"""A composite likelihood for the detection of anomalies: of the columns given the code, and of each by itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from narrows.core import Batch, Likelihood
from narrows.core.check import number, refuse

if TYPE_CHECKING:
    from narrows.core import Autoencoder

__all__ = ["Composite", "quantiles", "student_t_scale"]

CENTRES = 32
_ITERATIONS = 100
_LARGEST = 14.0  # of the logarithm of a scale


class Composite(Likelihood):
    r"""The likelihood of the elements given the code, times that of each element by itself.

    .. math:: -\sum_d \Big[ \log t_\nu(x_d; m_d(z), s_d) + \log \frac1C \sum_{c=1}^C t_\nu(x_d; q_{cd}, h_d) \Big],\quad
              h_d = 0.9\, \min(\sigma_d, \mathrm{IQR}_d / 1.34)\, n^{-1/5}

    An autoencoder also explains anomalies whose elements deviate together, as a common cause does. The second part,
    the likelihood of independent elements, does not: a row is unusual if an element is, or if elements do not fit each
    other. It does not depend on the code, and is fitted once, to the training rows: a kernel density at C = 32
    quantiles q of each element, with the bandwidth h of Silverman's rule. Of the first part the means m are the output
    of the decoder, and the scales s are learned. The t are Student's: with few degrees of freedom, outliers among the
    training rows have little weight.

    Values are no -log of one density, and not comparable with those of other likelihoods. Draws and means are those of
    the first part.

    Args:
        shape: shape of one target.
        df: degrees of freedom, nu; the smaller, the heavier the tails.
        floor: the least scale s and bandwidth h of an element, relative to its standard deviation. Without it, the
            density of a column with many equal values has no bound.

    Raises:
        RequestError: a number not above 0.

    Example:
        >>> p = Composite((2,), df=1.0, floor=0.5)
        >>> p.nll(torch.zeros(1, 2), torch.zeros(1, 2)) / torch.tensor(math.pi).log()
        tensor([4.], grad_fn=<DivBackward0>)

    Reference:
        Varin, Reid, Firth, An Overview of Composite Likelihood Methods, 2011. Takahashi et al., Student-t Variational
        Autoencoder for Robust Density Estimation, 2018. Silverman, Density Estimation for Statistics and Data
        Analysis, 1986.
    """

    unit = "composite nats"

    centres: Tensor
    bandwidth: Tensor
    deviation: Tensor

    def __init__(self, shape: tuple[int, ...], df: float = 2.0, floor: float = 0.02) -> None:
        super().__init__(shape)
        self.df = number("df", df, low=1e-3)
        if not number("floor", floor) > 0:
            raise refuse("floor", floor, "a scale above 0")
        self.floor = float(floor)
        self.log_scale = nn.Parameter(torch.full(shape, math.log(0.5)))
        self.register_buffer("centres", torch.zeros(CENTRES, *shape))
        self.register_buffer("bandwidth", torch.ones(shape))
        self.register_buffer("deviation", torch.ones(shape))
        self.constant = (
            math.lgamma(self.df / 2) - math.lgamma((self.df + 1) / 2) + 0.5 * math.log(self.df * math.pi)
        )

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Fit the elements by themselves, and the first scales to the residuals, on a batch."""
        passed = model(batch)
        x, weight = batch.target, passed.weight
        seen = torch.ones_like(x) if weight is None else (weight != 0).expand_as(x).to(x.dtype)
        count = seen.sum(0).clamp_min(1)
        mean = torch.where(seen != 0, x, 0).sum(0) / count
        variance = torch.where(seen != 0, (x - mean).square(), 0).sum(0) / count
        self.deviation.copy_(torch.where(variance > 1e-12, variance.sqrt(), 1.0))
        least = self.floor * self.deviation
        low, high = quantiles(x, seen, [0.25, 0.75])
        spread = torch.where(high > low, (high - low) / 1.34, self.deviation).minimum(self.deviation)
        self.bandwidth.copy_((0.9 * spread * count**-0.2).maximum(least))
        self.centres.copy_(quantiles(x, seen, [(c + 0.5) / CENTRES for c in range(CENTRES)]))
        left = torch.where(seen != 0, x - passed.output, 0)
        scale = student_t_scale(left, seen, self.df, 1.1 * least)
        self.log_scale.copy_((scale / self.deviation - self.floor).log())

    def elements_nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """The two terms of each element, (*samples, B, *shape)."""
        kernels = -self._t(x - self.centres.unsqueeze(1), self.bandwidth)
        alone = math.log(CENTRES) - kernels.logsumexp(0)
        return self._t(x - parameters, self.given_code) + alone

    @property
    def given_code(self) -> Tensor:
        """The scales s of the elements given the code, (*shape)."""
        return self.deviation * (self.floor + self.log_scale.clamp_max(_LARGEST).exp())

    def mean(self, parameters: Tensor) -> Tensor:
        """The location given the code."""
        return parameters

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw given the code."""
        standard = torch.distributions.StudentT(parameters.new_tensor(self.df))
        return parameters + self.given_code * standard.sample(parameters.shape)

    def _t(self, away: Tensor, scale: Tensor) -> Tensor:
        tails = 0.5 * (self.df + 1) * torch.log1p((away / scale).square() / self.df)
        return tails + scale.log() + self.constant


def quantiles(x: Tensor, seen: Tensor, levels: list[float]) -> Tensor:
    """Quantiles of the observed values of each element, each one of the values; 0 without any.

    Args:
        x: rows, (B, ...).
        seen: 1 where a cell is observed and 0 elsewhere, (B, ...).
        levels: from 0 to 1.

    Returns:
        A row for each level, (levels, ...).

    Example:
        >>> x = torch.tensor([[3.0], [1.0], [2.0], [9.0]])
        >>> quantiles(x, torch.tensor([[1.0], [1.0], [1.0], [0.0]]), [0.0, 0.5, 1.0])[:, 0]
        tensor([1., 2., 3.])
    """
    ordered = torch.where(seen != 0, x, math.inf).sort(0).values
    count = seen.sum(0)
    places = torch.stack([(level * count).long().minimum(count.long() - 1).clamp_min(0) for level in levels])
    return torch.where(count > 0, ordered.gather(0, places), 0.0)


def student_t_scale(x: Tensor, seen: Tensor, df: float, least: Tensor) -> Tensor:
    r"""The scale of Student's t around 0 of each column, by maximum likelihood: 100 steps of EM.

    .. math:: w_i = \frac{\nu + 1}{\nu + x_i^2 / \tau^2},\quad \tau^2 = \frac1n \sum_i w_i x_i^2

    Args:
        x: rows, (B, ...).
        seen: 1 where a cell is observed and 0 elsewhere, (B, ...).
        df: degrees of freedom.
        least: the smallest scale of each column, (...).

    Returns:
        Scales, (...).

    Example:
        >>> x = torch.tensor([[-1.0], [0.0], [1.0]])
        >>> scale = student_t_scale(x, torch.ones(3, 1), 1e6, torch.tensor([0.1]))
        >>> bool((scale - (2 / 3) ** 0.5).abs() < 1e-4)
        True

    Reference:
        Lange, Little, Taylor, Robust Statistical Modeling Using the t Distribution, 1989.
    """
    count = seen.sum(0).clamp_min(1)
    scale = ((seen * x.square()).sum(0) / count).sqrt().maximum(least)
    for _ in range(_ITERATIONS):
        w = seen * (df + 1) / (df + (x / scale).square())
        scale = ((w * x.square()).sum(0) / count).sqrt().maximum(least)
    return scale
