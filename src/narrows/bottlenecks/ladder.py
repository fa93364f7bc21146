"""A ladder of Gaussian groups: the posterior goes down the same chain as the prior, and corrects it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from narrows.bottlenecks.gaussian import Diagonal, Gaussian, cost, draw, kl, normal
from narrows.check import refuse, whole
from narrows.core import Bottleneck, Code, Tree
from narrows.nets.mlp import MLP

__all__ = ["Ladder", "combine", "halved", "joined"]


def halved(width: int, layers: int) -> tuple[int, ...]:
    """Widths of the groups from the data upwards, each half of the one below, at least 1.

    Example:
        >>> halved(32, 3)
        (32, 16, 8)
    """
    return tuple(max(1, whole("latent", width) // 2**i) for i in range(whole("layers", layers)))


def combine(estimate: Diagonal, prior: Diagonal) -> Diagonal:
    r"""The product of a bottom-up estimate and a top-down prior, renormalised: each counts by its precision.

    .. math:: \sigma^{-2} = \hat\sigma^{-2} + \sigma_p^{-2},\quad
              \mu = \sigma^2 (\hat\mu\,\hat\sigma^{-2} + \mu_p\,\sigma_p^{-2})

    Example:
        >>> q = combine(normal(torch.tensor([[2.0, 0.0]])), normal(torch.tensor([[0.0, 0.0]])))
        >>> q.mean.round(decimals=3), q.variance.round(decimals=3)
        (tensor([[1.]]), tensor([[0.5000]]))
    """
    below, above = estimate.base_dist, prior.base_dist
    # sigma = s_e s_p / sqrt(s_e^2 + s_p^2) neither over- nor underflows where a precision would.
    spread = torch.hypot(below.scale, above.scale)
    trust = (above.scale / spread).square()
    mean = above.loc + trust * (below.loc - above.loc)
    return Independent(
        Normal(mean, below.scale * above.scale / spread, validate_args=False), 1, validate_args=False
    )


def joined(parts: Sequence[Diagonal]) -> Diagonal:
    """One diagonal Gaussian over the latents of several, side by side."""
    lead = torch.broadcast_shapes(*(part.batch_shape for part in parts))

    def side_by_side(name: str) -> Tensor:
        return torch.cat([getattr(part.base_dist, name).expand(*lead, -1) for part in parts], -1)

    both = Normal(side_by_side("loc"), side_by_side("scale"), validate_args=False)
    return Independent(both, 1, validate_args=False)


class Ladder(Bottleneck):
    r"""Groups z_1 ... z_L, the prior a chain from the top down, the posterior the same chain corrected by the data.

    .. math:: p(z) = p(z_L) \prod_{i<L} p(z_i | z_{i+1}),\quad
              q(z|x) = q(z_L|x) \prod_{i<L} q(z_i | z_{i+1}, x),

    where the top q is the bottom-up estimate, and each q below `combine`\ s its estimate with p(z_i | z_{i+1}).
    Group i costs ``kl/i``, counted from the data upwards: ``kl/0`` is that of z_1. It is the closed form given the
    groups drawn above, and the log-ratio at the draw where samples are asked for.

    The code holds all groups side by side, z_1 first: its first ``widths[0]`` entries are all that a decoder of
    p(x | z_1) needs. ``q`` and ``p`` are those of the groups along the path that was drawn.

    Args:
        widths: latents of each group, from the data upwards.
        features: width of the encoder's features for each group, from the data upwards.
        hidden: width of the hidden layer between a group and the prior of the one below.

    Raises:
        RequestError: no group, or not as many widths as features.

    Example:
        >>> code = Ladder((4, 2), (8, 8))([torch.zeros(3, 8), torch.zeros(3, 8)])
        >>> code.z.shape, list(code.costs)
        (torch.Size([3, 6]), ['kl/0', 'kl/1'])

    Reference:
        Sonderby, Raiko, Maaloe, Sonderby, Winther, Ladder Variational Autoencoders, 2016, section 2.
        arXiv:1602.02282
    """

    def __init__(self, widths: Sequence[int], features: Sequence[int], hidden: int = 128) -> None:
        super().__init__()
        self.widths = tuple(whole("widths", width) for width in widths)
        if not self.widths or len(features) != len(self.widths):
            raise refuse("features", tuple(features), f"one width for each of the {len(self.widths)} groups")
        self.estimates = nn.ModuleList(
            nn.Linear(size, 2 * width) for size, width in zip(features, self.widths, strict=True)
        )
        self.priors = nn.ModuleList(
            MLP((above,), (2 * below,), (hidden,)) for below, above in itertools.pairwise(self.widths)
        )
        self.top = Gaussian(self.widths[-1])

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Go down the ladder with features ``[(B, F_1), ..., (B, F_L)]``, from the data upwards."""
        if len(h) != len(self.widths):
            raise refuse("h", f"{len(h)} features", f"one for each of the {len(self.widths)} groups")
        estimates = [normal(net(features)) for net, features in zip(self.estimates, h, strict=True)]
        drawn: list[Tensor] = []
        qs: list[Diagonal] = []
        ps: list[Diagonal] = []
        for i in reversed(range(len(self.widths))):
            top = not drawn
            p = self.prior(i, None if top else drawn[-1])
            q = estimates[i] if top else combine(estimates[i], p)
            drawn.append(draw(q, samples if top else (), mean=not self.training and not samples))
            qs.append(q)
            ps.append(p)
        groups = list(zip(drawn[::-1], qs[::-1], ps[::-1], strict=True))
        costs = {f"kl/{i}": cost(z, q, p) if samples else kl(q, p) for i, (z, q, p) in enumerate(groups)}
        return Code(torch.cat(drawn[::-1], -1), costs, joined(qs[::-1]), joined(ps[::-1]))

    def prior(self, group: int, above: Tensor | None = None) -> Diagonal:
        """p(z_i | z_{i+1}) of group `group`, counted from 0; the top one is N(0, I)."""
        return self.top.prior() if above is None else normal(self.priors[group](above))

    def split(self, z: Tensor) -> tuple[Tensor, ...]:
        """The groups of a code (..., sum of widths), from the data upwards."""
        return z.split(self.widths, -1)

    def sample(self, n: int) -> Code:
        """Draw n codes from the prior, the top group first: (n, sum of widths)."""
        z = self.top.sample(n).z
        drawn = [z]
        for i in reversed(range(len(self.widths) - 1)):
            z = self.prior(i, z).sample()
            drawn.append(z)
        return Code(torch.cat(drawn[::-1], -1))
