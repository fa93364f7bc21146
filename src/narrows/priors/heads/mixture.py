"""The head of a token of real numbers: a mixture of Gaussians."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core.check import choice, whole
from narrows.priors.sequence import Head

__all__ = ["Gaussians", "Mixture", "rejected"]

_LEAST = 1e-3
"""Smallest scale, of standardised tokens."""
_CANDIDATES = 128
_WIDER = 1.5


class Gaussians(NamedTuple):
    r"""Mixtures of k Gaussians over R^C with covariances :math:`D U U^\top D`, D = diag(s), U unit lower triangular."""

    log_weights: Tensor
    """(..., k)."""
    means: Tensor
    """(..., k, C)."""
    scales: Tensor
    """s, (..., k, C)."""
    lower: Tensor | None = None
    """U, (..., k, C, C); the identity if None."""

    def scaled(self, factor: float) -> Gaussians:
        """The mixtures with deviations times a factor."""
        return self._replace(scales=factor * self.scales)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p of x (..., C), in nats, (...)."""
        u = (x[..., None, :] - self.means) / self.scales
        if self.lower is not None:
            lower = self.lower.expand(*u.shape, -1)
            u = torch.linalg.solve_triangular(lower, u[..., None], upper=False)[..., 0]
        normal = -0.5 * (u.square() + math.log(2 * math.pi)).sum(-1)
        return (self.log_weights + normal - self.scales.log().sum(-1)).logsumexp(-1)

    def sample(self) -> Tensor:
        """One draw of each mixture, (..., C)."""
        weights = self.log_weights.exp()
        which = torch.multinomial(weights.flatten(0, -2), 1).view(*weights.shape[:-1], 1, 1)
        mean, scale = (part.take_along_dim(which, -2)[..., 0, :] for part in (self.means, self.scales))
        noise = torch.randn_like(mean)
        if self.lower is not None:
            chosen = self.lower.take_along_dim(which[..., None], -3)[..., 0, :, :]
            noise = (chosen @ noise[..., None])[..., 0]
        return mean + scale * noise

    def each(self, n: int) -> Gaussians:
        """Every mixture n times: axes (B, ...) become (n, B, ...)."""
        parts = (None if part is None else part.expand(n, *part.shape) for part in self)
        return Gaussians(*parts)  # type: ignore[arg-type]


def rejected(told: Gaussians, untold: Gaussians, guidance: float) -> Tensor:
    r"""Draws from :math:`p_c^w\, p_u^{1-w}`, not normalised, by rejection among 128 proposals.

    .. math:: x_i \sim q,\qquad P(x_i \text{ accepted}) = \frac{r_i}{\max_j r_j},\quad
              r = \frac{p_c^w\, p_u^{1-w}}{q}

    q is :math:`p_c` with deviations 1.5 times as wide; the first accepted proposal is the draw.

    Args:
        told: p_c, given labels, (n,) mixtures.
        untold: p_u, without them.
        guidance: w; with 1 and many proposals, draws are from p_c.

    Returns:
        (n, C).

    Reference:
        Tschannen, Eastwood, Mentzer, GIVT, 2023, section 3.4. arXiv:2312.02116
    """
    wide = told.scaled(_WIDER)
    x = wide.each(_CANDIDATES).sample()
    log_ratio = guidance * told.log_prob(x) + (1 - guidance) * untold.log_prob(x) - wide.log_prob(x)
    accepted = torch.rand_like(log_ratio).log() < log_ratio - log_ratio.amax(0)
    accepted = accepted | (log_ratio == log_ratio.amax(0))
    return x.take_along_dim(accepted.float().argmax(0)[None, :, None], 0)[0]


class Mixture(Head):
    r"""A mixture of k Gaussians, whose weights, means and scales are linear in h.

    .. math:: p(x_l \mid h_l) = \sum_{i=1}^k \mathrm{softmax}(a)_i\, N(x_l;\, m_i, D_i U_i U_i^\top D_i),\qquad
              D_i = \mathrm{diag}(\mathrm{softplus}(s_i))

    U is the identity; with ``covariance="full"`` it is lower triangular with ones on its diagonal.

    Args:
        width: channels of h, W.
        channels: numbers of a token, C.
        components: k.
        covariance: ``diagonal`` or ``full``.

    Raises:
        RequestError: no component, or another covariance.

    Example:
        >>> head = Mixture(8, channels=3, components=4)
        >>> head.nll(torch.zeros(2, 5, 8), torch.zeros(2, 5, 3), nn.Identity()).shape
        torch.Size([2, 5])
    """

    def __init__(self, width: int, channels: int, components: int = 16, covariance: str = "diagonal") -> None:
        super().__init__()
        self.channels, self.components = channels, whole("components", components)
        self.full = choice("covariance", covariance, ("diagonal", "full")) == "full"
        below = channels * (channels - 1) // 2 if self.full else 0
        each = 1 + 2 * channels + below
        self.out = nn.Linear(width, components * each)
        bias = torch.zeros(components, each)
        if components > 1:  # components that begin alike stay alike
            bias[:, 1 : 1 + channels] = torch.randn(components, channels)
        self.out.bias = nn.Parameter(bias.flatten())

    def weights(self) -> list[Tensor]:
        """The weights of the linear map."""
        return [self.out.weight]

    def forward(self, h: Tensor) -> Gaussians:
        """The mixtures of h (..., W)."""
        parts = self.out(h).unflatten(-1, (self.components, -1))
        c = self.channels
        log_weights, means, raw, below = parts.split([1, c, c, parts.shape[-1] - 1 - 2 * c], -1)
        lower = None
        if self.full:
            rows, columns = torch.tril_indices(c, c, -1, device=h.device)
            lower = torch.eye(c, dtype=h.dtype, device=h.device).repeat(*below.shape[:-1], 1, 1)
            lower[..., rows, columns] = below
        return Gaussians(log_weights[..., 0].log_softmax(-1), means, F.softplus(raw) + _LEAST, lower)

    def nll(self, h: Tensor, tokens: Tensor, embed: nn.Module) -> Tensor:
        """-log p of tokens (B, L, C), in nats, (B, L)."""
        return -self(h).log_prob(tokens)

    def draw(self, h: Tensor, temperature: float = 1.0, guidance: float = 1.0) -> Tensor:
        """Tokens (R, C) from h (R, W).

        Args:
            h: with guidance, the rows with labels, then those without.
            temperature: factor of the deviations.
            guidance: w, see `rejected`.
        """
        mixtures: Gaussians = self(h)
        mixtures = mixtures.scaled(temperature)
        if guidance == 1:
            return mixtures.sample()
        told, untold = (
            Gaussians(*(None if part is None else part.chunk(2)[half] for part in mixtures))  # type: ignore[arg-type]
            for half in (0, 1)
        )
        return rejected(told, untold, guidance).repeat(2, 1)
