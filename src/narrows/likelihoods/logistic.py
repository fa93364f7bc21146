"""Mixtures of discretised logistics for grey levels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from narrows.core import Likelihood
from narrows.core.check import whole
from narrows.likelihoods.normal import bounded

__all__ = ["LogisticMixture"]


class LogisticMixture(Likelihood):
    r"""A mixture of logistics, discretised to the grey levels of an image from 0 to 1.

    ``p(x) = sum_i pi_i [sigmoid((x + h - m_i) / s_i) - sigmoid((x - h - m_i) / s_i)]`` with h half a level;
    the two outermost levels include the tails, so that the probabilities of an element's levels sum to 1. In
    an image the channels of a pixel share the component, and a channel's mean depends linearly on the
    previous channels.

    Args:
        shape: shape of one target; with ``(C, H, W)`` the C channels are coupled, with other shapes nothing
            is.
        components: number of mixture components, M.
        levels: number of grey levels from 0 to 1, both included.

    Raises:
        RequestError: fewer than 1 component or 2 levels.

    Example:
        >>> p = LogisticMixture((1,), components=1, levels=2)
        >>> p.nll(torch.zeros(1, 3), torch.ones(1, 1))
        tensor([0.6931])

    Reference:
        Salimans, Karpathy, Chen, Kingma: PixelCNN++, 2017, https://arxiv.org/abs/1701.05517
    """

    def __init__(self, shape: tuple[int, ...], components: int = 5, levels: int = 256) -> None:
        super().__init__(shape)
        self.components, self.levels = whole("components", components), whole("levels", levels, low=2)
        self.coupled = shape[0] if len(shape) == 3 else 1
        c = self.coupled
        self.sizes = tuple(n * components for n in (1, c, c, c * (c - 1) // 2))
        self.rest = self.shape[1:] if len(shape) == 3 else self.shape

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """Mixture weights, means, log-scales and couplings, along the first axis."""
        if len(self.shape) == 3:
            return (sum(self.sizes), *self.rest)
        return (sum(self.sizes) * self.shape[0], *self.shape[1:])

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log-weights (..., M, *rest), means and log-scales (..., M, C, *rest), couplings (..., M, P, *rest).

        P is the number of pairs of channels.

        Means and scales are those of x stretched to [-1, 1].
        """
        lead = parameters.shape[: parameters.dim() - len(self.parameter_shape)]
        flat = parameters.reshape(*lead, sum(self.sizes), *self.rest)
        axis = -len(self.rest) - 1
        weights, means, scales, couplings = flat.split(self.sizes, axis)
        by_component = (self.components, -1)
        scales = bounded(scales, -7.0, 7.0).unflatten(axis, by_component)
        pairs = couplings.tanh()
        pairs = pairs.unflatten(axis, (self.components, self.sizes[3] // self.components))
        return weights.log_softmax(axis), means.unflatten(axis, by_component), scales, pairs

    def centres(self, means: Tensor, couplings: Tensor, x: list[Tensor]) -> list[Tensor]:
        """The mean of each channel given the previous channels, each (..., M, *rest)."""
        axis, out, pair = -len(self.rest) - 1, [], 0
        for channel in range(self.coupled):
            centre = means.select(axis, channel)
            for before in range(channel):
                centre = centre + couplings.select(axis, pair) * x[before]
                pair += 1
            out.append(centre)
            if len(x) == channel:  # this channel is not known: use its mean
                x = [*x, centre]
        return out

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """The negative log-probability of the target's grey levels, (*samples, B).

        A weight must be the same for all channels of a pixel, since they share their component.
        """
        terms = self._pixels_nll(parameters, x)
        if weight is not None:
            one = weight.expand(*weight.shape[: weight.dim() - len(self.shape)], *self.shape)
            terms = terms * (one.select(-len(self.rest) - 1, 0) if len(self.shape) == 3 else one)
        return terms.flatten(-len(self.rest)).sum(-1)

    def elements_nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """That of each pixel in equal parts for its channels, (*samples, B, *shape)."""
        terms = self._pixels_nll(parameters, x)
        if len(self.shape) < 3:
            return terms
        axis = -len(self.rest)
        parts = (terms / self.shape[0]).unsqueeze(axis - 1)
        return parts.expand(*terms.shape[:axis], *self.shape)

    def _pixels_nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """The negative log-probability of each pixel, (*samples, B, *rest)."""
        log_weights, means, log_scales, couplings = self.split(parameters)
        axis = -len(self.rest) - 1
        y = (2 * x - 1).reshape(*x.shape[: x.dim() - len(self.shape)], 1, self.coupled, *self.rest)
        centres = torch.stack(self.centres(means, couplings, list(y.unbind(axis))), axis)
        logs = self._log_bins(y, centres, log_scales).sum(axis)
        return -torch.logsumexp(log_weights + logs, axis)

    def _log_bins(self, y: Tensor, centres: Tensor, log_scales: Tensor) -> Tensor:
        """The log-probability of each level under each component, stable in both tails."""
        half, inverse = 1 / (self.levels - 1), (-log_scales).exp()
        high, low = (y - centres + half) * inverse, (y - centres - half) * inverse
        # log[sigmoid(a) - sigmoid(b)] = a + log(1 - e^(b - a)) - softplus(a) - softplus(b), for a > b
        width = (2 * half * inverse).clamp(min=1e-6)
        inside = high + torch.log(-torch.expm1(-width)) - F.softplus(high) - F.softplus(low)
        first, last = -F.softplus(-high), -F.softplus(low)
        edge = torch.where(y > 1 - half, last, inside)
        return torch.where(y < half - 1, first, edge)

    def mean(self, parameters: Tensor) -> Tensor:
        """The mean of the mixture before rounding to levels, clamped to [0, 1]."""
        log_weights, means, _, couplings = self.split(parameters)
        axis = -len(self.rest) - 1
        centres = torch.stack(self.centres(means, couplings, []), axis)
        mixed = (log_weights.exp().unsqueeze(axis) * centres).sum(axis - 1)
        return self._unstretch(mixed)

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw, rounded to grey levels."""
        log_weights, means, log_scales, couplings = self.split(parameters)
        axis = -len(self.rest) - 1
        gumbel = -torch.empty_like(log_weights).exponential_().log()
        component = (log_weights + gumbel).argmax(axis, keepdim=True)
        drawn: list[Tensor] = []
        for channel in range(self.coupled):
            centre = self.centres(means, couplings, drawn)[channel].gather(axis, component)
            scale = log_scales.select(axis, channel).gather(axis, component).exp()
            u = torch.rand_like(centre).clamp(1e-6, 1 - 1e-6)
            y = (centre + scale * (u.log() - (-u).log1p())).clamp(-1, 1)
            # rounded here, because the next channel depends on the rounded value
            drawn.append(((y + 1) / 2 * (self.levels - 1)).round() * (2 / (self.levels - 1)) - 1)
        return self._unstretch(torch.cat(drawn, axis))

    def _unstretch(self, y: Tensor) -> Tensor:
        """From [-1, 1] and (..., C, *rest) to [0, 1] and (..., *shape)."""
        lead = y.shape[: y.dim() - len(self.rest) - 1]
        return ((y + 1) / 2).clamp(0, 1).reshape(*lead, *self.shape)
