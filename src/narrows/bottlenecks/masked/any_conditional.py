"""A code given any part of the cells of a row, with a posterior that also sees the hidden ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from narrows.bottlenecks.gaussian.diagonal import Diagonal, kl
from narrows.bottlenecks.masked.hiding import Cells, Hiding
from narrows.bottlenecks.variational import ratio
from narrows.core import NO_CONDITION, Bottleneck, Code, Condition, Tree
from narrows.core.check import whole
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

    In training b is drawn anew for each example, by `hide`. Values that are missing are never seen, and have no part
    in the loss. `Code.weight` is b: only hidden values are reconstructed. The decoder reads z beside the hidden layer
    of the prior's net, (B, Z + F), a skip connection; of images also beside what the prior sees of h, flattened. The
    cost ``hyper`` is a weak prior on mean mu and deviation sigma of p(z | x outside b, b).

    In `eval()` everything is hidden from the prior, so that costs and likelihood are those of the whole example.
    `given` is the code for imputation, in which nothing is hidden that is there.

    Args:
        latent: width of z, Z.
        posterior: makes 2 Z numbers of h (B, ...) and which of it the prior sees, joined.
        trunk: makes F numbers of what the prior sees of h.
        features: shape of h: ``(W,)`` of a table, or ``(2 C, H, W)`` of images, with a mask of observed values for each
            channel.
        owner: of a table the column of each of the W features; masks of observed cells are among them.
        skip: width of the hidden layer of the prior, F.
        hide: draws b in training.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> bottleneck = AnyConditional(2, nn.Linear(6, 4), nn.Linear(4, 3), (4,), (0, 1, 0, 1), skip=3)
        >>> code = bottleneck(torch.ones(5, 4))
        >>> code.z.shape, code.weight.shape, sorted(code.costs)
        (torch.Size([5, 5]), torch.Size([5, 2]), ['hyper', 'kl'])

    Reference:
        Ivanov, Figurnov and Vetrov, Variational Autoencoder with Arbitrary Conditioning, 2019. arXiv:1806.02382
    """

    def __init__(
        self,
        latent: int,
        posterior: nn.Module,
        trunk: nn.Module,
        features: tuple[int, ...],
        owner: Sequence[int] = (),
        *,
        skip: int = 64,
        hide: Hiding | None = None,
    ) -> None:
        super().__init__()
        self.latent, self.skip, self.hide = whole("latent", latent), whole("skip", skip), hide or Cells()
        self.shape, self.owner = tuple(features), tuple(owner)
        self.masks = (max(owner) + 1,) if owner else (1, *features[1:])
        self.posterior, self.trunk = posterior, trunk
        self.head = nn.Linear(self.skip, 2 * self.latent)

    @property
    def width(self) -> int:
        """The width of the decoder's input: Z + F, and of images the numbers of h."""
        return self.latent + self.skip + (0 if self.owner else math.prod(self.shape))

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Draw z from the posterior, given features (B, *features)."""
        hidden = self.hide.draw(len(h), self.masks, h) if self.training else h.new_ones(len(h), *self.masks)
        seen = 1 - hidden.to(h.dtype)
        q = _gaussian(self.posterior(torch.cat([h, seen], -len(self.masks))))
        p, skip = self._given(h, seen)
        z = q.rsample(samples) if self.training or samples else q.mean
        prior: Normal = p.base_dist
        weak = prior.loc.square() / (2 * _MEANS**2) - _DEVIATIONS * (prior.scale.log() - prior.scale)
        nats = {"kl": ratio(z, q, p) if samples else kl(q, p), "hyper": weak.sum(-1).expand(z.shape[:-1])}
        return Code(_beside(z, skip), nats, q, p, weight=self._weight(seen))

    def given(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Draw z from the prior given all that is observed; nothing is reconstructed, so that costs are 0."""
        seen = h.new_ones(len(h), *self.masks)
        p, skip = self._given(h, seen)
        z = p.rsample(samples) if samples else p.mean
        costs = {"kl": torch.zeros_like(z[..., 0])}
        return Code(_beside(z, skip), costs, p, p, weight=self._weight(seen))

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw n codes from the prior given nothing, (n, Z + F)."""
        h = self.head.weight.new_zeros(n, *self.shape)
        p, skip = self._given(h, h.new_zeros(n, *self.masks))
        return Code(_beside(p.sample(), skip), p=p)

    def features(self, code: Code) -> Tensor:
        """The means of the posterior, (B, Z)."""
        assert code.q is not None
        mean: Tensor = code.q.mean
        return mean

    def _given(self, h: Tensor, seen: Tensor) -> tuple[Diagonal, Tensor]:
        """p(z | what is seen), and what the decoder reads beside z, (B, F) or (B, F + numbers of h)."""
        visible = h * (select_columns(seen, self.owner) if self.owner else seen)
        skip = F.silu(self.trunk(visible))
        p = _gaussian(self.head(skip))
        return p, skip if self.owner else torch.cat([skip, visible.flatten(1)], -1)

    def _weight(self, seen: Tensor) -> Tensor:
        """1 for what is reconstructed, (B, D) or (B, C, H, W)."""
        return 1 - seen if self.owner else (1 - seen).expand(-1, self.shape[0] // 2, -1, -1)


def _gaussian(features: Tensor) -> Diagonal:
    mean, raw = features.chunk(2, -1)
    return Independent(Normal(mean, F.softplus(raw) + _FLOOR, validate_args=False), 1, validate_args=False)


def _beside(z: Tensor, skip: Tensor) -> Tensor:
    return torch.cat([z, skip.expand(*z.shape[:-1], -1)], -1)
