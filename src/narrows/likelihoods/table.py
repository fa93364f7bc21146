"""p(x | z) of a table with mixed columns and missing cells: one likelihood per column."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narrows.core import Batch, Likelihood, Spec
from narrows.core.check import number, refuse
from narrows.core.columns import Columns, select_columns
from narrows.core.spelling import Table

if TYPE_CHECKING:
    from narrows.core import Autoencoder

__all__ = ["NOISES", "GaussianNoise", "MixedTable", "Noise", "StudentTNoise"]

_FLOOR = 1e-4
"""The minimum variance of a continuous column: a hundredth of its standard deviation, for standardised data.

A column with repeated values has no density; without a minimum it would dominate all others.
"""

_FASTER = 10.0
"""The factor by which the learning rate of log-variances exceeds that of the other parameters."""


class Noise:
    """The distribution of a continuous column around its location, given its variance (or squared scale)."""

    def nll(self, error: Tensor, variance: Tensor) -> Tensor:
        """-log of the density at a distance from the location, per element."""
        raise NotImplementedError(f"{type(self).__name__} must define nll")

    def sample(self, variance: Tensor) -> Tensor:
        """Draws of the distance from the location, of the shape of the variance."""
        raise NotImplementedError(f"{type(self).__name__} must define sample")


class GaussianNoise(Noise):
    """Gaussian noise.

    Example:
        >>> GaussianNoise().nll(torch.ones(1), torch.ones(1))
        tensor([1.4189])
    """

    def nll(self, error: Tensor, variance: Tensor) -> Tensor:
        """-log N(error; 0, variance)."""
        return 0.5 * (error.square() / variance + (2 * math.pi * variance).log())

    def sample(self, variance: Tensor) -> Tensor:
        """Draws of N(0, variance)."""
        return variance.sqrt() * torch.randn_like(variance)


class StudentTNoise(Noise):
    """Student-t noise, which is robust to outliers.

    Args:
        df: degrees of freedom; the smaller, the heavier the tails.

    Raises:
        RequestError: `df` of 1 or less, for which there is no mean to impute.

    Example:
        >>> StudentTNoise(3).nll(torch.zeros(1), torch.ones(1))
        tensor([1.0009])
    """

    def __init__(self, df: float = 4.0) -> None:
        self.df = number("df", df, low=1.001)

    def nll(self, error: Tensor, variance: Tensor) -> Tensor:
        """-log of the density of a Student-t with this squared scale."""
        constant = math.lgamma(self.df / 2) - math.lgamma((self.df + 1) / 2)
        tail = (self.df + 1) / 2 * torch.log1p(error.square() / (self.df * variance))
        return constant + 0.5 * (math.pi * self.df * variance).log() + tail

    def sample(self, variance: Tensor) -> Tensor:
        """Draws of a Student-t with this squared scale."""
        chi2 = torch.distributions.Chi2(torch.full_like(variance, self.df))
        return (variance * self.df / chi2.sample()).sqrt() * torch.randn_like(variance)


NOISES: Table[Noise] = Table(
    "numbers",
    f"{__name__}:Noise",
    {"gaussian": f"{__name__}:GaussianNoise", "student-t": f"{__name__}:StudentTNoise"},
)
"""The noise distributions of continuous columns, by name."""


class MixedTable(Likelihood):
    r"""Columns that are independent given z: continuous, binary, categorical.

    .. math:: -\log p(x \mid z) = -\sum_d s_d \log p_d(x_d \mid z),\quad s_d = 1 \text{ if cell } d \text{ is observed}

    A continuous column has a location :math:`m_d(z)` and noise with one learned variance; binary ones are
    Bernoulli, categorical ones have a softmax. The decoder's output is relative to the training data: an
    output of zero is the column's mean, or its class frequencies.

    Args:
        spec: the table, whose `parts` are its columns; a vector without parts has continuous columns.
        noise: noise of the continuous columns; Gaussian if None.

    Raises:
        RequestError: a column of another type, or a target other than the table itself.

    Example:
        >>> p = MixedTable(Spec((2,), parts={"a": Spec(()), "b": Spec((), "categories", classes=4)}))
        >>> p.nll(torch.zeros(1, 5), torch.tensor([[0.0, 3.0]]), torch.tensor([[0.0, 1.0]])).detach()
        tensor([1.3863])

    Reference:
        Mattei and Frellsen, MIWAE, 2019. arXiv:1812.02633;
        Nazabal et al., Handling Incomplete Heterogeneous Data using VAEs, 2020. arXiv:1807.03653
    """

    offset: Tensor

    def __init__(self, spec: Spec, noise: Noise | None = None) -> None:
        super().__init__(spec.shape)
        if spec.target is not None:
            raise refuse("target", spec.target, "omitted: the cells of a table are predicted from the others")
        self.columns = Columns.of(spec)
        self.names = tuple(spec.parts) or tuple(f"c{i}" for i in range(spec.shape[0]))
        self.noise = GaussianNoise() if noise is None else noise
        self.register_buffer("offset", torch.zeros(self.columns.width))
        reals = len(self.columns.real)
        self.tenth_log_variance = nn.Parameter(torch.zeros(reals)) if reals else None

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """One entry per continuous or binary column, one per class of a categorical one."""
        return (self.columns.width,)

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Set the offsets to the columns' means and class frequencies in a large batch."""
        seen = _observed(batch.target, batch.weight)
        wide = self.columns.expand(batch.target, seen)
        present = select_columns(seen, self.columns.owner).to(wide.dtype)
        count = present.sum(0)
        reals, ones = len(self.columns.real), len(self.columns.real) + len(self.columns.binary)
        mean = wide[:, :reals].sum(0) / count[:reals].clamp_min(1)
        # half a row of each class is added, so that the probability of an unseen class is small but not 0
        share = (wide[:, reals:].sum(0) + 0.5) / (count[reals:] + 1)
        self.offset.copy_(torch.cat([mean, share[: ones - reals].logit(), share[ones - reals :].log()]))
        if self.tenth_log_variance is not None:
            square = present[:, :reals] * (wide[:, :reals] - mean).square()
            variance = square.sum(0) / count[:reals].clamp_min(1)
            self.tenth_log_variance.copy_(variance.clamp_min(_FLOOR).log() / _FASTER)

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """-log p of the observed cells, (*samples, B), with densities for continuous columns."""
        observed = _observed(x, weight)
        x = torch.where(observed, x, 0)  # missing values, such as NaN, must not reach a gradient
        real, binary, *categories = self._split(parameters)
        terms = []
        if self.columns.real:
            terms.append(self.noise.nll(select_columns(x, self.columns.real) - real, self._variance()))
        if self.columns.binary:
            terms.append(F.softplus(binary) - select_columns(x, self.columns.binary) * binary)
        for (place, _), logits in zip(self.columns.categories, categories, strict=True):
            index = x[..., place, None].long().expand(*logits.shape[:-1], 1)
            terms.append(logits.logsumexp(-1, keepdim=True) - logits.gather(-1, index))
        counted = None if weight is None else select_columns(weight.expand_as(x), self.columns.order)
        return self.sum(torch.cat(terms, -1), counted)

    def mean(self, parameters: Tensor) -> Tensor:
        """Means of continuous columns, probabilities of 1, most probable categories, (*samples, B, D)."""
        return self._assembled(self._expected(parameters))

    def mixture_mean(self, parameters: Tensor, weights: Tensor) -> Tensor:
        """As `mean`, for the mixture over the first axis: categories by their mixed probabilities."""
        return self._assembled(torch.einsum("kb,kbp->bp", weights, self._expected(parameters)))

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw of every column, (*samples, B, D)."""
        real, binary, *categories = self._split(parameters)
        noise = [self.noise.sample(self._variance().expand_as(real))] if self.columns.real else []
        drawn = [*(real + n for n in noise), torch.bernoulli(binary.sigmoid())]
        for logits in categories:
            share = logits.softmax(-1)
            chosen = torch.multinomial(share.flatten(0, -2), 1).reshape(*share.shape[:-1], 1)
            drawn.append(chosen.to(share.dtype))
        return self._in_place(torch.cat(drawn, -1))

    def _split(self, parameters: Tensor) -> tuple[Tensor, ...]:
        """Locations of continuous columns, logits of binary ones, and the logits of each categorical one."""
        # the gradient of `split` is one copy, that of slices several
        return (parameters + self.offset).split(self.columns.sizes, -1)

    def _expected(self, parameters: Tensor) -> Tensor:
        """Means and probabilities, one per entry, (..., width)."""
        real, binary, *categories = self._split(parameters)
        return torch.cat([real, binary.sigmoid(), *(logits.softmax(-1) for logits in categories)], -1)

    def _assembled(self, expected: Tensor) -> Tensor:
        """Cells (..., D) from means and probabilities (..., width)."""
        real, binary, *shares = expected.split(self.columns.sizes, -1)
        cells = [real, binary, *(share.argmax(-1, keepdim=True).to(share.dtype) for share in shares)]
        return self._in_place(torch.cat(cells, -1))

    def _in_place(self, cells: Tensor) -> Tensor:
        """Reorder columns from the order of `Columns` to that of the table."""
        return select_columns(cells, sorted(range(len(self.columns)), key=self.columns.order.__getitem__))

    def _variance(self) -> Tensor:
        assert self.tenth_log_variance is not None  # there are continuous columns
        return (_FASTER * self.tenth_log_variance).exp() + _FLOOR


def _observed(x: Tensor, weight: Tensor | None) -> Tensor:
    """Mask of the observed cells, of the shape of x."""
    return torch.ones_like(x, dtype=torch.bool) if weight is None else (weight != 0).expand_as(x)
