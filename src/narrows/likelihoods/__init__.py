"""p(x | z): what the decoder's output means. Values are sums over one example, in its `unit` (nats, but one).

The decoder puts out *parameters* of shape ``(*samples, B, *likelihood.parameter_shape)``; the target has shape
``(B, *shape)`` and is broadcast over the sample axes.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narrows.core import Likelihood
from narrows.core.check import choice, number, refuse, whole

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "Categorical",
    "Gaussian",
    "LogisticMixture",
    "Squared",
    "bounded",
    "likelihood",
]

LIKELIHOODS = (
    "auto",
    "bernoulli",
    "gaussian",
    "gaussian-fixed",
    "gaussian-learned",
    "squared",
    "categorical",
    "logistic-mixture",
)
"""The names that `likelihood` knows; ``gaussian`` has one learned variance for all elements."""

LOG_VARIANCE = (-14.0, 14.0)
"""Between these a log-variance is kept: standard deviations from 0.0009 to 1097."""


def bounded(log_variance: Tensor, low: float = LOG_VARIANCE[0], high: float = LOG_VARIANCE[1]) -> Tensor:
    """Keep a log-variance inside (low, high), smoothly, so that it can come back from either end.

    Example:
        >>> bounded(torch.tensor([-1e3, 0.0, 1e3])).round(decimals=3)
        tensor([-14.,   0.,  14.])
    """
    return high - F.softplus(high - low - F.softplus(log_variance - low))


class Bernoulli(Likelihood):
    r"""Independent pixels that are 0 or 1, from logits l.

    ``-log p(x | l) = sum_d softplus(l_d) - x_d l_d``. For values between 0 and 1 this is the cross-entropy of two
    coins: a loss with its minimum at sigmoid(l) = x, and the expected nll of binarising x at random, though not a
    normalised density of x.

    Args:
        shape: shape of one target.

    Example:
        >>> Bernoulli((2,)).nll(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]))
        tensor([1.3863])
    """

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """The cross-entropy of x and sigmoid(parameters), (*samples, B)."""
        # one pass less than softplus(l) - x * l, and a quarter faster, backward included
        return self.sum(torch.addcmul(F.softplus(parameters), x, parameters, value=-1), weight)

    def mean(self, parameters: Tensor) -> Tensor:
        """sigmoid(parameters)."""
        return torch.sigmoid(parameters)

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw of zeros and ones."""
        return torch.bernoulli(torch.sigmoid(parameters))


class Squared(Likelihood):
    """The sum of squares, no constants: what many papers minimise.

    ``nll = sum_d (x_d - m_d)^2``; up to a constant the nll of a Gaussian of variance 1/2, which `sample` draws from.

    Args:
        shape: shape of one target.

    Example:
        >>> Squared((2,)).nll(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
        tensor([25.])
    """

    splits = ()
    unit = "squared error"

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """The sum of squared differences, (*samples, B)."""
        return self.sum((x - parameters).square(), weight)

    def mean(self, parameters: Tensor) -> Tensor:
        """The parameters themselves."""
        return parameters

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw from a Gaussian of variance 1/2 around the parameters."""
        return parameters + math.sqrt(0.5) * torch.randn_like(parameters)


class Gaussian(Likelihood):
    r"""Independent Gaussians.

    ``-log p(x | m, v) = 1/2 sum_d [(x_d - m_d)^2 / v_d + log v_d + log 2 pi]``.

    Args:
        shape: shape of one target.
        variance: ``fixed`` at `value`; ``shared``, one learned number for all elements, which calibrates the
            weight of the distortion against the rate (sigma-VAE); ``learned``, a second output an element.
        value: the variance where it is fixed, the initial one where it is shared.

    Raises:
        RequestError: an unknown `variance`, or a `value` that is not above 0.

    Example:
        >>> Gaussian((1,), "fixed").nll(torch.zeros(1, 1), torch.ones(1, 1))
        tensor([1.4189])

    Reference:
        Rybkin, Daniilidis, Levine: Simple and Effective VAE Training with Calibrated Decoders, 2021.
    """

    log_variance: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        variance: Literal["fixed", "shared", "learned"] = "shared",
        value: float = 1.0,
    ) -> None:
        super().__init__(shape)
        self.variance = choice("variance", variance, ("fixed", "shared", "learned"))
        if number("value", value) <= 0:
            raise refuse("value", value, "a variance above 0")
        self.channels = 2 if variance == "learned" else 1
        start = torch.tensor(math.log(value))
        if variance == "shared":
            self.log_variance = nn.Parameter(start)
        elif variance == "fixed":
            self.register_buffer("log_variance", start)

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the log-variance, the latter broadcastable to the former."""
        if self.variance == "learned":
            mean, log_variance = parameters.chunk(2, -len(self.shape))
            return mean, bounded(log_variance)
        return parameters, bounded(self.log_variance)

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """-log N(x; mean, variance), (*samples, B)."""
        mean, log_variance = self.split(parameters)
        if weight is None and log_variance.dim() == 0:  # one number: the constants need not be spread out
            squares = self.sum((x - mean).square())
            return 0.5 * (
                squares * (-log_variance).exp() + self._size * (log_variance + math.log(2 * math.pi))
            )
        terms = (x - mean).square() * (-log_variance).exp() + log_variance + math.log(2 * math.pi)
        return self.sum(0.5 * terms, weight)

    def mean(self, parameters: Tensor) -> Tensor:
        """The mean."""
        return self.split(parameters)[0]

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw."""
        mean, log_variance = self.split(parameters)
        return mean + (0.5 * log_variance).exp() * torch.randn_like(mean)

    @property
    def _size(self) -> int:
        return math.prod(self.shape)


class Categorical(Likelihood):
    """One of N classes an element, from N logits.

    ``-log p(x | l) = sum_d [logsumexp_n l_dn - l_d,x_d]``.

    Args:
        shape: shape of one target.
        classes: how many classes, N.
        scaled: the target holds grey levels from 0 to 1, class n standing for n / (N - 1); otherwise it holds the
            class numbers themselves, whole numbers of any dtype.

    Raises:
        RequestError: fewer than two classes.

    Example:
        >>> Categorical((1,), 4).nll(torch.zeros(1, 4), torch.tensor([[1.0]]))
        tensor([1.3863])
    """

    def __init__(self, shape: tuple[int, ...], classes: int = 256, scaled: bool = True) -> None:
        super().__init__(shape)
        self.channels = self.classes = whole("classes", classes, low=2)
        self.scaled = scaled

    def logits(self, parameters: Tensor) -> Tensor:
        """The normalised logits, classes last: (*samples, B, *shape, N)."""
        axis = -len(self.shape)
        spread = parameters.unflatten(axis, (self.classes, self.shape[0]))
        return spread.movedim(axis - 1, -1).log_softmax(-1)

    def index(self, x: Tensor) -> Tensor:
        """The class of each element of a target."""
        return (x * (self.classes - 1)).round().long() if self.scaled else x.long()

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """-log of the probability of the target's classes, (*samples, B)."""
        logits = self.logits(parameters)
        index = self.index(x).expand(logits.shape[:-1]).unsqueeze(-1)
        return self.sum(-logits.gather(-1, index).squeeze(-1), weight)

    def mean(self, parameters: Tensor) -> Tensor:
        """The expected grey level where scaled, else the most probable class (classes have no mean)."""
        logits = self.logits(parameters)
        if not self.scaled:
            return logits.argmax(-1)
        levels = torch.linspace(0, 1, self.classes, dtype=logits.dtype, device=logits.device)
        return logits.exp() @ levels

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw: grey levels where scaled, else class numbers."""
        drawn = torch.distributions.Categorical(logits=self.logits(parameters)).sample()
        return drawn.to(parameters.dtype) / (self.classes - 1) if self.scaled else drawn


class LogisticMixture(Likelihood):
    r"""A mixture of logistics, discretised to the grey levels of an image from 0 to 1.

    ``p(x) = sum_i pi_i [sigmoid((x + h - m_i) / s_i) - sigmoid((x - h - m_i) / s_i)]`` with h half a level, and the
    two outermost levels taking the tails, so that the levels of each element sum to 1. In an image the components
    are shared by the channels of a pixel, and a channel's mean depends linearly on the channels before it.

    Args:
        shape: shape of one target; ``(C, H, W)`` couples the C channels, any other shape couples nothing.
        components: how many logistics are mixed, M.
        levels: how many grey levels lie between 0 and 1, both included.

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
        """Log-weights (..., M, *rest), means and log-scales (..., M, C, *rest), couplings (..., M, pairs, *rest).

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
        """The mean of each channel given the channels before it, each (..., M, *rest)."""
        axis, out, pair = -len(self.rest) - 1, [], 0
        for channel in range(self.coupled):
            centre = means.select(axis, channel)
            for before in range(channel):
                centre = centre + couplings.select(axis, pair) * x[before]
                pair += 1
            out.append(centre)
            if len(x) == channel:  # nothing is known of this channel: go on from its own centre
                x = [*x, centre]
        return out

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """-log of the probability of the target's grey levels, (*samples, B).

        A weight must be the same for all channels of a pixel, since they share their component.
        """
        log_weights, means, log_scales, couplings = self.split(parameters)
        axis = -len(self.rest) - 1
        y = (2 * x - 1).reshape(*x.shape[: x.dim() - len(self.shape)], 1, self.coupled, *self.rest)
        centres = torch.stack(self.centres(means, couplings, list(y.unbind(axis))), axis)
        logs = self._log_bins(y, centres, log_scales).sum(axis)
        terms = -torch.logsumexp(log_weights + logs, axis)
        if weight is not None:
            one = weight.expand(*weight.shape[: weight.dim() - len(self.shape)], *self.shape)
            terms = terms * (one.select(axis, 0) if len(self.shape) == 3 else one)
        return terms.flatten(-len(self.rest)).sum(-1)

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
        """The mixture's mean before it is rounded to levels, kept inside [0, 1]."""
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
        pick = (log_weights + gumbel).argmax(axis, keepdim=True)
        drawn: list[Tensor] = []
        for channel in range(self.coupled):
            centre = self.centres(means, couplings, drawn)[channel].gather(axis, pick)
            scale = log_scales.select(axis, channel).gather(axis, pick).exp()
            u = torch.rand_like(centre).clamp(1e-6, 1 - 1e-6)
            y = (centre + scale * (u.log() - (-u).log1p())).clamp(-1, 1)
            # to the nearest level at once: the next channel depends on what is seen
            drawn.append(((y + 1) / 2 * (self.levels - 1)).round() * (2 / (self.levels - 1)) - 1)
        return self._unstretch(torch.cat(drawn, axis))

    def _unstretch(self, y: Tensor) -> Tensor:
        """From [-1, 1] and (..., C, *rest) to [0, 1] and (..., *shape)."""
        lead = y.shape[: y.dim() - len(self.rest) - 1]
        return ((y + 1) / 2).clamp(0, 1).reshape(*lead, *self.shape)


def likelihood(name: str, shape: tuple[int, ...], values: str = "unit") -> Likelihood:
    """Make a likelihood by name.

    Args:
        name: one of `LIKELIHOODS`; ``auto`` is ``bernoulli`` for binary values and for images and series from 0 to 1,
            else ``gaussian`` with one learned variance, so that a rate's weight means the same everywhere.
        shape: shape of one target.
        values: ``binary``, ``unit`` or ``real``, as `Spec` says.

    Raises:
        RequestError: an unknown name, or one that cannot hold such values.

    Example:
        >>> type(likelihood("auto", (3,), "real")).__name__
        'Gaussian'
    """
    name = choice("likelihood", name, LIKELIHOODS)
    if name == "auto":
        name = "gaussian" if values == "real" or (values == "unit" and len(shape) == 1) else "bernoulli"
    if name in ("bernoulli", "categorical", "logistic-mixture") and values == "real":
        fix = "Use `gaussian` or `squared`, or scale the data to lie between 0 and 1."
        raise refuse("likelihood", name, "one for real values", fix)
    if name == "bernoulli":
        return Bernoulli(shape)
    if name == "squared":
        return Squared(shape)
    if name == "categorical":
        return Categorical(shape, 2 if values == "binary" else 256)
    if name == "logistic-mixture":
        return LogisticMixture(shape, levels=2 if values == "binary" else 256)
    kinds: dict[str, Literal["fixed", "shared", "learned"]] = {
        "gaussian": "shared",
        "gaussian-fixed": "fixed",
        "gaussian-learned": "learned",
    }
    return Gaussian(shape, kinds[name])
