"""Numbers on a grid: mixtures of logistic distributions, integrated over the cell of each value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from narrows.core import Spec
from narrows.core.check import whole
from narrows.likelihoods.columns.head import Head

__all__ = ["LogLogistic", "Logistic", "log_interval"]

_FINEST = 1e-4
"""The smallest resolution in units of the data's standard deviation."""

_SHARPEST = 32.0
"""The smallest scale is this fraction of the resolution; the nll of a constant is then 2e-7."""

_WIDEST = 30.0
"""The largest logarithm of a scale, for data of standard deviation 1: the inverse of larger ones would vanish."""

_FAR = 1e6
"""The width of the first cell of columns that have no negative numbers."""


def log_interval(high: Tensor, low: Tensor, width: Tensor) -> Tensor:
    r"""log(sigmoid(high) - sigmoid(low)), stable in both tails and for narrow intervals.

    .. math:: \log(\sigma(a) - \sigma(b)) = \log\sigma(a) + \log\sigma(-b) + \log(1 - e^{-(a - b)})

    Args:
        high: the upper end, a.
        low: the lower end, b < a.
        width: a - b, which a difference of rounded numbers would lose.

    Example:
        >>> log_interval(torch.tensor(90.5), torch.tensor(89.5), torch.tensor(1.0))
        tensor(-89.9587)
    """
    return F.logsigmoid(high) + F.logsigmoid(-low) + torch.log(-torch.expm1(-width))


class Logistic(Head):
    r"""A mixture of logistic distributions on the grid of the column: a probability, not a density.

    .. math:: p(x) = \sum_k \pi_k \left[\sigma\!\left(\tfrac{x + d/2 - m_k}{s_k}\right)
              - \sigma\!\left(\tfrac{x - d/2 - m_k}{s_k}\right)\right]

    The resolution d is the distance of neighbouring values of the column, at least 1e-4 of its standard deviation.
    So nats of numbers and of levels add up, and a column with repeated values cannot outweigh the others.

    Args:
        columns: the specs of the columns.
        components: number of mixture components.

    Raises:
        RequestError: a number of components below 1.

    Example:
        >>> from narrows.core import Column
        >>> head = Logistic([Spec((), "integer", column=Column("int64", 1.0))], components=1)
        >>> cell = torch.tensor([[2.0]])
        >>> head.nll(torch.tensor([[0.0, 2.0, 0.0]]), cell).exp()  # 1 / tanh(1 / 4s), s a little above 1
        tensor([[4.2055]])

    Reference:
        Salimans et al., PixelCNN++, 2017. arXiv:1701.05517
    """

    title = "logistic mixture"

    step: Tensor
    origin: Tensor

    def __init__(self, columns: Sequence[Spec], components: int = 3) -> None:
        super().__init__(columns)
        self.components = whole("components", components)
        self.width = 3 * self.components * len(self.columns)
        known = [spec.column for spec in self.columns]
        steps = [_FINEST if one is None or one.step <= 0 else one.step for one in known]
        origins = [0.0 if one is None else one.origin for one in known]
        self.register_buffer("step", torch.tensor(steps), persistent=False)
        self.register_buffer("origin", torch.tensor(origins), persistent=False)

    def edges(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The upper edge of the cell of each value and its width, as the mixture sees them, (..., C)."""
        return x + self.step / 2, self.step.expand_as(x)

    def seen(self, x: Tensor) -> Tensor:
        """Values as the mixture sees them."""
        return x

    def unseen(self, y: Tensor) -> Tensor:
        """The inverse of `seen`."""
        return y

    def floor(self) -> Tensor:
        """The smallest scale of each column, (C,)."""
        return self.step / _SHARPEST

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights, means and log-scales, each (..., components, C)."""
        shape = (*parameters.shape[:-1], 3, self.components, len(self.columns))
        logits, means, raw = parameters.reshape(shape).unbind(-3)
        lowest = self.floor().log()
        return logits.log_softmax(-2), means, (lowest + F.softplus(raw - lowest)).clamp(max=_WIDEST)

    @torch.no_grad()
    def prepare(self, x: Tensor, observed: Tensor) -> Tensor:
        """Means at quantiles of the column, with scales that decrease with their number."""
        share = (torch.arange(self.components, device=x.device, dtype=x.dtype) + 0.5) / self.components
        means, scales = [], []
        for cells, there, floor in zip(self.seen(x).T, observed.T, self.floor(), strict=True):
            some = cells[there] if bool(there.any()) else cells.new_zeros(1)
            means.append(some.quantile(share))
            deviation = some.std(correction=0) / math.sqrt(self.components)
            scales.append(torch.maximum(math.sqrt(3) / math.pi * deviation, floor))
        centre, scale = torch.stack(means, 1), torch.stack(scales).expand(self.components, -1)
        lowest = self.floor().log()
        excess = scale.log() - lowest
        raw = lowest + torch.where(excess > 0, excess + torch.log(-torch.expm1(-excess)), -10.0)
        return torch.stack([torch.zeros_like(centre), centre, raw]).flatten()

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log of the probability of the cell of each value, (..., C)."""
        before = (1,) * (x.dim() - parameters.dim())
        shape = (*before, *parameters.shape[:-1], 3, self.components, len(self.columns))
        given = (parameters.reshape(shape), *self.edges(x), self.floor())
        # without a gradient it can also be vectorised by `torch.func.vmap`
        found: Tensor = _Cells.apply(*given) if torch.is_grad_enabled() else _nll(*given)[0]
        return found

    def expected(self, parameters: Tensor) -> Tensor:
        """The mean of the mixture."""
        log_weights, means, _ = self.split(parameters)
        return (log_weights.exp() * means).sum(-2)

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw, on the grid of the column."""
        drawn = self.unseen(self._drawn(parameters))
        return self.origin + ((drawn - self.origin) / self.step).round() * self.step

    def rsample(self, parameters: Tensor) -> Tensor:
        r"""A draw before it is rounded, with its gradient :math:`-\partial_\theta F_\theta(x) / p_\theta(x)`."""
        log_weights, means, log_scales = self.split(parameters)
        with torch.no_grad():
            y = self._drawn(parameters)
        weights, inverse = log_weights.exp(), (-log_scales).exp()
        below = ((y.unsqueeze(-2) - means) * inverse).sigmoid()
        with torch.no_grad():
            density = (weights * below * (1 - below) * inverse).sum(-2).clamp_min(1e-12)
        share = (weights * below).sum(-2)
        return self.unseen(y - (share - share.detach()) / density)

    def _drawn(self, parameters: Tensor) -> Tensor:
        """A draw from the mixture, (..., C)."""
        log_weights, means, log_scales = self.split(parameters)
        gumbel = -torch.empty_like(log_weights).exponential_().log()
        chosen = (log_weights + gumbel).argmax(-2, keepdim=True)
        mean, log_scale = (part.gather(-2, chosen).squeeze(-2) for part in (means, log_scales))
        u = torch.rand_like(mean).clamp(1e-6, 1 - 1e-6)
        return mean + log_scale.exp() * u.logit()


class LogLogistic(Logistic):
    r"""A mixture of logistic distributions of log(1 + x), for numbers from 0 with a long tail.

    The cell of x has the edges log(1 + x - d/2) and log(1 + x + d/2); that of 0 also has the mass below.

    Args:
        columns: the specs of the columns.
        components: number of mixture components.

    Raises:
        RequestError: a number of components below 1.

    Example:
        >>> from narrows.core import Column
        >>> LogLogistic([Spec((), "positive", column=Column("double", 1.0))]).width
        9
    """

    title = "log-logistic mixture"

    def edges(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The upper edge of the cell of each value and its width, as the mixture sees them, (..., C)."""
        x, step = x.clamp_min(0), self.step
        below = (x - step / 2).clamp_min(0)
        width = torch.where(x < step / 2, _FAR, torch.log1p(step / (1 + below)))
        return torch.log1p(x + step / 2), width

    def seen(self, x: Tensor) -> Tensor:
        """log(1 + x)."""
        return torch.log1p(x.clamp_min(0))

    def unseen(self, y: Tensor) -> Tensor:
        """The inverse of `seen`, at least 0."""
        return torch.expm1(y.clamp(0, 80))

    def floor(self) -> Tensor:
        """The smallest scale of each column, (C,): that of the narrowest cell in its range."""
        highest = [0.0 if spec.column is None else max(spec.column.high, 0.0) for spec in self.columns]
        narrow = torch.log1p(self.step / (1 + torch.tensor(highest).to(self.step)))
        return narrow.clamp_min(_FINEST) / _SHARPEST

    def expected(self, parameters: Tensor) -> Tensor:
        r"""The mean of x: :math:`E[e^y] = e^m \pi s / \sin(\pi s)`, with scales up to 1/2 (beyond 1 there is none)."""
        log_weights, means, log_scales = self.split(parameters)
        turn = math.pi * log_scales.exp().clamp(max=0.5)
        mean = means.clamp(max=80).exp() * turn / turn.sin() - 1
        return (log_weights.exp() * mean).sum(-2).clamp_min(0)


class _Cells(torch.autograd.Function):
    """`_nll` with its gradient; several times as fast as by single operations."""

    @staticmethod
    def forward(ctx: Any, parameters: Tensor, edge: Tensor, width: Tensor, floor: Tensor) -> Tensor:
        """The arguments and the result of `_nll`."""
        nll, *kept = _nll(parameters, edge, width, floor)
        ctx.save_for_backward(*kept)
        return nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of the parameters."""
        grown, inverse, high, wide, inside, up, below, share, weights = ctx.saved_tensors
        share, slope = share * gradient, (1 - up).sub_(below)
        found = gradient.new_empty(3, *share.shape)
        torch.mul(weights, gradient, out=found[0]).sub_(share)
        share *= inverse
        torch.mul(share, slope, out=found[1])
        widening = (1 - inside).div_(inside).add_(below).mul_(wide)
        torch.mul(slope.mul_(high).add_(widening), share.mul_(grown), out=found[2])
        return found.movedim((0, 1), (-3, -2)), None, None, None


def _nll(parameters: Tensor, edge: Tensor, width: Tensor, floor: Tensor) -> tuple[Tensor, ...]:
    r"""-log of the mixture's probability of each cell, and what its gradient needs, by components.

    .. math:: \sigma(a) - \sigma(b) = e^{\min(a, 0) - \max(b, 0)}\, \sigma(|a|)\, \sigma(|b|)\, (1 - e^{-(a - b)})

    All factors but the exponential are far from underflow, so that only exponents are added as logarithms.

    Args:
        parameters: logits, means and raw log-scales, (..., 3, components, C); the scales are floor + exp(raw).
        edge: upper edges of the cells, a in units of x, (..., C).
        width: their widths, a - b, (..., C).
        floor: the smallest scale of each column, (C,).
    """
    # with components in front all operations, and sums over components, are over contiguous blocks
    logits, means, raw = parameters.movedim((-3, -2), (0, 1)).clone(memory_format=torch.contiguous_format)
    grown = raw.clamp(max=_WIDEST).exp_()
    inverse = (grown + floor).reciprocal_()
    high, wide = (edge - means).mul_(inverse), width * inverse
    low = high - wide
    up, below, inside = high.sigmoid(), low.sigmoid(), torch.expm1(-wide).neg_()
    factor = torch.maximum(up, 1 - up).mul_(torch.maximum(below, 1 - below)).mul_(inside)
    exponent = high.clamp(max=0).sub_(low.clamp(min=0)).add_(logits)
    most, largest = exponent.amax(0), logits.amax(0)
    share, weights = exponent.sub_(most).exp_().mul_(factor), logits.sub_(largest).exp_()
    within, total = share.sum(0), weights.sum(0)
    nll = (total / within).log_().add_(largest - most)
    return nll, grown, inverse, high, wide, inside, up, below, share.div_(within), weights.div_(total)
