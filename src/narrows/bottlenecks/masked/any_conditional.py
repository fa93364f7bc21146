"""A code given any part of the cells of a row, with a posterior that also sees the hidden ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from narrows.bottlenecks.gaussian.diagonal import Diagonal, kl
from narrows.bottlenecks.variational import ratio
from narrows.core import NO_CONDITION, Bottleneck, Code, Condition, Tree
from narrows.core.check import number, refuse, whole
from narrows.core.columns import select_columns

__all__ = ["AnyConditional"]

_FLOOR = 1e-4
"""The smallest standard deviation of posterior and prior."""
_MEANS, _DEVIATIONS = 1e4, 1e-4
"""The parameters of the weak prior on the means and deviations of p(z | seen)."""


class AnyConditional(Bottleneck):
    r"""q(z | x, b) and the prior p(z | x outside b, b), b the cells that are hidden from the prior.

    .. math:: \mathrm{kl} = \mathrm{KL}(q(z|x,b)\,\|\,p(z|x_{1-b},b)),\qquad
              \mathrm{hyper} = \sum_j \frac{\mu_j^2}{2 \cdot 10^8} - 10^{-4} (\log \sigma_j - \sigma_j)

    In training b is drawn anew for each batch: in each row a share u ~ U(low, high) of the cells, at random. Cells
    that are missing are never seen, and have no part in the loss. `Code.weight` is b: only hidden cells are
    reconstructed. The decoder reads z beside the hidden layer of the prior's net, (B, Z + F), a skip connection. The
    cost ``hyper`` is a weak prior on mean mu and deviation sigma of p(z | x outside b, b).

    In `eval()` all cells are hidden from the prior, so that costs and likelihood are those of the whole row. `given` is
    the code for imputation, in which nothing is hidden that is there.

    Args:
        latent: width of z, Z.
        owner: the column of each of the W features; masks of observed cells are among them.
        net: makes a net from its numbers of inputs and outputs.
        skip: width of the hidden layer of the prior, F.
        low: the least share of hidden cells.
        high: the largest.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> bottleneck = AnyConditional(2, (0, 1, 0, 1), nn.Linear, skip=3)
        >>> code = bottleneck(torch.ones(5, 4))
        >>> code.z.shape, code.weight.shape, sorted(code.costs)
        (torch.Size([5, 5]), torch.Size([5, 2]), ['hyper', 'kl'])

    Reference:
        Ivanov, Figurnov and Vetrov, Variational Autoencoder with Arbitrary Conditioning, 2019. arXiv:1806.02382
    """

    def __init__(
        self,
        latent: int,
        owner: Sequence[int],
        net: Callable[[int, int], nn.Module],
        *,
        skip: int = 64,
        low: float = 0.2,
        high: float = 1.0,
    ) -> None:
        super().__init__()
        self.latent, self.owner, self.skip = whole("latent", latent), tuple(owner), whole("skip", skip)
        self.low, self.high = number("low", low, low=0, high=1), number("high", high, low=0, high=1)
        if not self.low <= self.high or not self.high:
            raise refuse("high", high, f"at least the least share, {low:g}, and above 0", "Try high=1.")
        self.columns = max(owner) + 1
        self.posterior = net(len(owner) + self.columns, 2 * self.latent)
        self.trunk = net(len(owner), self.skip)
        self.head = nn.Linear(self.skip, 2 * self.latent)

    @property
    def width(self) -> int:
        """The width of the decoder's input, Z + F."""
        return self.latent + self.skip

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Draw z from the posterior, given features (B, W)."""
        seen = self._seen(h)
        q = _gaussian(self.posterior(torch.cat([h, seen], -1)))
        p, skip = self._given(h, seen)
        z = q.rsample(samples) if self.training or samples else q.mean
        prior: Normal = p.base_dist
        weak = prior.loc.square() / (2 * _MEANS**2) - _DEVIATIONS * (prior.scale.log() - prior.scale)
        nats = {"kl": ratio(z, q, p) if samples else kl(q, p), "hyper": weak.sum(-1).expand(z.shape[:-1])}
        return Code(_beside(z, skip), nats, q, p, weight=1 - seen)

    def given(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Draw z from the prior given all that is observed; nothing is reconstructed, so that costs are 0."""
        seen = torch.ones(len(h), self.columns, dtype=h.dtype, device=h.device)
        p, skip = self._given(h, seen)
        z = p.rsample(samples) if samples else p.mean
        return Code(_beside(z, skip), {"kl": torch.zeros_like(z[..., 0])}, p, p, weight=1 - seen)

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw n codes from the prior given nothing, (n, Z + F)."""
        h = self.head.weight.new_zeros(n, len(self.owner))
        p, skip = self._given(h, h.new_zeros(n, self.columns))
        return Code(_beside(p.sample(), skip), p=p)

    def features(self, code: Code) -> Tensor:
        """The means of the posterior, (B, Z)."""
        assert code.q is not None
        mean: Tensor = code.q.mean
        return mean

    def _seen(self, h: Tensor) -> Tensor:
        """1 for the cells that the prior sees, (B, D)."""
        if not self.training:
            return h.new_zeros(len(h), self.columns)
        share = self.low + (self.high - self.low) * torch.rand(len(h), 1, dtype=h.dtype, device=h.device)
        draws = torch.rand(len(h), self.columns, dtype=h.dtype, device=h.device)
        return (draws >= share).to(h.dtype)

    def _given(self, h: Tensor, seen: Tensor) -> tuple[Diagonal, Tensor]:
        """p(z | seen cells), and the hidden layer of its net, (B, F)."""
        skip = F.silu(self.trunk(h * select_columns(seen, self.owner)))
        return _gaussian(self.head(skip)), skip


def _gaussian(features: Tensor) -> Diagonal:
    mean, raw = features.chunk(2, -1)
    return Independent(Normal(mean, F.softplus(raw) + _FLOOR, validate_args=False), 1, validate_args=False)


def _beside(z: Tensor, skip: Tensor) -> Tensor:
    return torch.cat([z, skip.expand(*z.shape[:-1], -1)], -1)
