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

__all__ = ["Composite", "student_t_fit"]

_ITERATIONS = 100
_LARGEST = 14.0  # of the logarithm of a scale


class Composite(Likelihood):
    r"""The likelihood of the elements given the code, times that of each element by itself; both Student's t.

    .. math:: -\sum_d \big[ \log t_\nu(x_d; m_d(z), s_d) + \log t_\nu(x_d; \mu_d, \tau_d) \big]

    An autoencoder also explains anomalies whose elements deviate together, as a common cause does. The second part,
    the likelihood of independent elements, does not: a row is unusual if an element is, or if elements do not fit each
    other. It does not depend on the code, and is fitted once, by maximum likelihood on the training rows; of the first
    part the means m are the output of the decoder, and the scales s are learned. With few degrees of freedom, outliers
    among the training rows have little weight in both.

    Values are no -log of one density, and not comparable with those of other likelihoods. Draws and means are those of
    the first part.

    Args:
        shape: shape of one target.
        df: degrees of freedom, nu; the smaller, the heavier the tails.
        floor: the least scale of an element, relative to its standard deviation. Without it, the density of a column
            with many equal values has no bound.

    Raises:
        RequestError: a number not above 0.

    Example:
        >>> p = Composite((2,), df=1.0, floor=0.5)
        >>> p.nll(torch.zeros(1, 2), torch.zeros(1, 2)) / torch.tensor(math.pi).log()
        tensor([4.], grad_fn=<DivBackward0>)

    Reference:
        Varin, Reid, Firth, An Overview of Composite Likelihood Methods, 2011. Takahashi et al., Student-t Variational
        Autoencoder for Robust Density Estimation, 2018.
    """

    unit = "composite nats"

    location: Tensor
    scale: Tensor
    deviation: Tensor

    def __init__(self, shape: tuple[int, ...], df: float = 2.0, floor: float = 0.1) -> None:
        super().__init__(shape)
        self.df = number("df", df, low=1e-3)
        if not number("floor", floor) > 0:
            raise refuse("floor", floor, "a scale above 0")
        self.floor = float(floor)
        self.log_scale = nn.Parameter(torch.full(shape, math.log(0.5)))
        self.register_buffer("location", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
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
        location, scale = student_t_fit(torch.where(seen != 0, x, 0), seen, self.df, least)
        self.location.copy_(location)
        self.scale.copy_(scale)
        left = torch.where(seen != 0, x - passed.output, 0)
        _, scale = student_t_fit(left, seen, self.df, 1.1 * least, centred=True)
        self.log_scale.copy_((scale / self.deviation - self.floor).log())

    def elements_nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """The two terms of each element, (*samples, B, *shape)."""
        return self._t(x - parameters, self.given_code) + self._t(x - self.location, self.scale)

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


def student_t_fit(
    x: Tensor, seen: Tensor, df: float, least: Tensor, centred: bool = False
) -> tuple[Tensor, Tensor]:
    r"""Location and scale of Student's t of each column, by maximum likelihood: 100 steps of EM.

    .. math:: w_i = \frac{\nu + 1}{\nu + (x_i - \mu)^2 / \tau^2},\quad
              \mu = \frac{\sum_i w_i x_i}{\sum_i w_i},\quad \tau^2 = \frac1n \sum_i w_i (x_i - \mu)^2

    Args:
        x: rows, (B, ...).
        seen: 1 where a cell is observed and 0 elsewhere, (B, ...).
        df: degrees of freedom.
        least: the smallest scale of each column, (...).
        centred: the location is 0.

    Returns:
        Location and scale, (...).

    Example:
        >>> x = torch.tensor([[-1.0], [0.0], [1.0]])
        >>> location, scale = student_t_fit(x, torch.ones(3, 1), 1e6, torch.tensor([0.1]))
        >>> bool(location.abs() < 1e-6), bool((scale - (2 / 3) ** 0.5).abs() < 1e-4)
        (True, True)

    Reference:
        Lange, Little, Taylor, Robust Statistical Modeling Using the t Distribution, 1989.
    """
    count = seen.sum(0).clamp_min(1)
    location = torch.zeros_like(least) if centred else (seen * x).sum(0) / count
    scale = ((seen * (x - location).square()).sum(0) / count).sqrt().maximum(least)
    for _ in range(_ITERATIONS):
        w = seen * (df + 1) / (df + ((x - location) / scale).square())
        if not centred:
            location = (w * x).sum(0) / w.sum(0).clamp_min(1e-12)
        scale = ((w * (x - location).square()).sum(0) / count).sqrt().maximum(least)
    return location, scale
