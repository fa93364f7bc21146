"""Groups of Gaussian latents, one above the other, inferred from the top down (ladder) or upwards (chain)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from narrows.bottlenecks.gaussian.diagonal import Diagonal, Gaussian, cost, draw, kl
from narrows.core import NO_CONDITION, Bottleneck, Code, Condition, Tree
from narrows.core.check import refuse, whole
from narrows.nets.mlp import MLP

__all__ = ["SMALLEST", "Chain", "Hierarchy", "Ladder", "combine", "halved", "joined", "softplus_normal"]

SMALLEST = 1e-6
"""The least variance of a latent in a hierarchy."""


def halved(width: int, layers: int) -> tuple[int, ...]:
    """Widths of the groups from the data upwards, each half of the one below, at least 1.

    Example:
        >>> halved(32, 3)
        (32, 16, 8)
    """
    return tuple(max(1, whole("latent", width) // 2**i) for i in range(whole("layers", layers)))


def softplus_normal(features: Tensor) -> Diagonal:
    """Read a diagonal Gaussian from features: the mean, then what softplus turns into the variance.

    As in the paper. Between groups an exponential would let one odd draw cost thousands of nats.

    Example:
        >>> softplus_normal(torch.tensor([[1.0, 0.0]])).variance.round(decimals=4)
        tensor([[0.6931]])
    """
    mean, raw = features.chunk(2, -1)
    scale = (F.softplus(raw) + SMALLEST).sqrt()
    return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)


def combine(estimate: Diagonal, prior: Diagonal) -> Diagonal:
    r"""The product of a bottom-up estimate and a top-down prior, renormalised: each counts by its precision.

    .. math:: \sigma^{-2} = \hat\sigma^{-2} + \sigma_p^{-2},\quad
              \mu = \sigma^2 (\hat\mu\,\hat\sigma^{-2} + \mu_p\,\sigma_p^{-2})

    Example:
        >>> from narrows.bottlenecks.gaussian.diagonal import normal
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

    loc, scale = (
        torch.cat([one.expand(*lead, -1) for one in of], -1)
        for of in zip(*((part.base_dist.loc, part.base_dist.scale) for part in parts), strict=True)
    )
    both = Normal(loc, scale, validate_args=False)
    return Independent(both, 1, validate_args=False)


class Hierarchy(Bottleneck):
    r"""Groups z_1 ... z_L whose prior is a chain from the top down; a subclass infers them.

    .. math:: p(z) = p(z_L) \prod_{i<L} p(z_i | z_{i+1})

    Group i costs ``kl/i``, counted from the data upwards: ``kl/0`` is that of z_1. It is the closed form given the
    other groups' draws, and the log-ratio at the draw where samples are asked for.

    The code holds all groups side by side, z_1 first: its first ``widths[0]`` entries are all that a decoder of
    p(x | z_1) needs. ``q`` and ``p`` are those of the groups along the path that was drawn.

    Args:
        widths: latents of each group, from the data upwards.
        hidden: width of the hidden layer between a group and the prior of the one below.

    Raises:
        RequestError: no group.
    """

    def __init__(self, widths: Sequence[int], hidden: int = 128) -> None:
        super().__init__()
        self.widths = tuple(whole("widths", width) for width in widths)
        if not self.widths:
            raise refuse("widths", tuple(widths), "the width of at least one group")
        self.priors = nn.ModuleList(
            MLP((above,), (2 * below,), (hidden,)) for below, above in itertools.pairwise(self.widths)
        )
        self.top = Gaussian(self.widths[-1])

    def prior(self, group: int, above: Tensor | None = None) -> Diagonal:
        """p(z_i | z_{i+1}) of a group, counted from 0; the top one is N(0, I)."""
        return self.top.prior() if above is None else softplus_normal(self.priors[group](above))

    def split(self, z: Tensor) -> tuple[Tensor, ...]:
        """The groups of a code (..., sum of widths), from the data upwards."""
        return z.split(self.widths, -1)

    def code(self, z: list[Tensor], q: list[Diagonal], p: list[Diagonal], sampled: bool) -> Code:
        """The code of all groups, from the data upwards, and what each costs."""
        groups = enumerate(zip(z, q, p, strict=True))
        costs = {f"kl/{i}": cost(*group) if sampled else kl(*group[1:]) for i, group in groups}
        return Code(torch.cat(z, -1), costs, joined(q), joined(p))

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw n codes from the prior, the top group first: (n, sum of widths)."""
        z = [self.top.sample(n).z]
        for i in reversed(range(len(self.widths) - 1)):
            z.insert(0, self.prior(i, z[0]).sample())
        return Code(torch.cat(z, -1))


class Ladder(Hierarchy):
    r"""A hierarchy inferred from the top down: the chain of the prior, corrected by the data.

    .. math:: q(z|x) = q(z_L|x) \prod_{i<L} q(z_i | z_{i+1}, x)

    The top q is the bottom-up estimate; each q below `combine`\ s its estimate with p(z_i | z_{i+1}).

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
        super().__init__(widths, hidden)
        if len(features) != len(self.widths):
            raise refuse("features", tuple(features), f"one width for each of the {len(self.widths)} groups")
        self.estimates = nn.ModuleList(
            nn.Linear(size, 2 * width) for size, width in zip(features, self.widths, strict=True)
        )

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Go down the ladder with features ``[(B, F_1), ..., (B, F_L)]``, from the data upwards."""
        if len(h) != len(self.widths):
            raise refuse("h", f"{len(h)} features", f"one for each of the {len(self.widths)} groups")
        mean = not self.training and not samples
        q = [softplus_normal(net(features)) for net, features in zip(self.estimates, h, strict=True)]
        p, z = [self.prior(len(h) - 1)], [draw(q[-1], samples, mean)]
        for i in reversed(range(len(h) - 1)):
            p.insert(0, self.prior(i, z[0]))
            q[i] = combine(q[i], p[0])
            z.insert(0, draw(q[i], (), mean))
        return self.code(z, q, p, bool(samples))


class Chain(Hierarchy):
    r"""A hierarchy inferred from the data upwards, each group from the one below: the ladder's baseline.

    .. math:: q(z|x) = q(z_1|x) \prod_{i>1} q(z_i | z_{i-1})

    Args:
        widths: latents of each group, from the data upwards.
        features: width of the encoder's features.
        hidden: width of the hidden layers between groups.

    Raises:
        RequestError: no group.

    Example:
        >>> code = Chain((4, 2), 8)(torch.zeros(3, 8), samples=(5,))
        >>> code.z.shape, code.costs["kl/1"].shape
        (torch.Size([5, 3, 6]), torch.Size([5, 3]))

    Reference:
        Sonderby et al., Ladder Variational Autoencoders, 2016, section 2.1 (there: VAE). arXiv:1602.02282
    """

    def __init__(self, widths: Sequence[int], features: int, hidden: int = 128) -> None:
        super().__init__(widths, hidden)
        self.first = nn.Linear(features, 2 * self.widths[0])
        self.ups = nn.ModuleList(
            MLP((below,), (2 * above,), (hidden,)) for below, above in itertools.pairwise(self.widths)
        )

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Go up the chain from features (B, F)."""
        mean = not self.training and not samples
        q = [softplus_normal(self.first(h))]
        z = [draw(q[0], samples, mean)]
        for up in self.ups:
            q.append(softplus_normal(up(z[-1])))
            z.append(draw(q[-1], (), mean))
        p = [self.prior(i, above) for i, above in enumerate([*z[1:], None])]
        return self.code(z, q, p, bool(samples))
