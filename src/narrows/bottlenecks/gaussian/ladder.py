"""Hierarchies of Gaussian latents, inferred top-down (ladder) or bottom-up (chain)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from narrows.bottlenecks.gaussian.diagonal import Diagonal, Gaussian, draw, kl
from narrows.bottlenecks.variational import antithetic, ratio
from narrows.core import NO_CONDITION, Bottleneck, Code, Condition, Tree
from narrows.core.check import refuse, whole
from narrows.nets.mlp import MLP

__all__ = ["SMALLEST", "Chain", "Hierarchy", "Ladder", "combine", "halved", "joined", "softplus_normal"]

SMALLEST = 1e-6
"""The minimum variance of a latent in a hierarchy."""


def halved(width: int, layers: int) -> tuple[int, ...]:
    """Widths of the groups from the bottom up, each half of the previous, at least 1.

    Example:
        >>> halved(32, 3)
        (32, 16, 8)
    """
    return tuple(max(1, whole("latent", width) // 2**i) for i in range(whole("layers", layers)))


def softplus_normal(features: Tensor) -> Diagonal:
    """The diagonal Gaussian that features describe: the mean, then the variance before a softplus.

    As in the paper. With an exponential between groups, a single draw could cost thousands of nats.

    Example:
        >>> softplus_normal(torch.tensor([[1.0, 0.0]])).variance.round(decimals=4)
        tensor([[0.6931]])
    """
    mean, raw = features.chunk(2, -1)
    scale = (F.softplus(raw) + SMALLEST).sqrt()
    return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)


def combine(estimate: Diagonal, prior: Diagonal) -> Diagonal:
    r"""The product of a bottom-up estimate and a top-down prior, weighted by precision.

    .. math:: \sigma^{-2} = \hat\sigma^{-2} + \sigma_p^{-2},\quad
              \mu = \sigma^2 (\hat\mu\,\hat\sigma^{-2} + \mu_p\,\sigma_p^{-2})

    Example:
        >>> from narrows.bottlenecks.gaussian.diagonal import normal
        >>> q = combine(normal(torch.tensor([[2.0, 0.0]])), normal(torch.tensor([[0.0, 0.0]])))
        >>> q.mean.round(decimals=3), q.variance.round(decimals=3)
        (tensor([[1.]]), tensor([[0.5000]]))
    """
    below, above = estimate.base_dist, prior.base_dist
    # sigma = s_e s_p / sqrt(s_e^2 + s_p^2) does not overflow or underflow where a precision would.
    spread = torch.hypot(below.scale, above.scale)
    share = (above.scale / spread).square()
    mean = above.loc + share * (below.loc - above.loc)
    return Independent(
        Normal(mean, below.scale * above.scale / spread, validate_args=False), 1, validate_args=False
    )


def joined(parts: Sequence[Diagonal]) -> Diagonal:
    """The joint diagonal Gaussian over the concatenated latents of several."""
    lead = torch.broadcast_shapes(*(part.batch_shape for part in parts))

    loc, scale = (
        torch.cat([one.expand(*lead, -1) for one in of], -1)
        for of in zip(*((part.base_dist.loc, part.base_dist.scale) for part in parts), strict=True)
    )
    both = Normal(loc, scale, validate_args=False)
    return Independent(both, 1, validate_args=False)


class Hierarchy(Bottleneck):
    r"""Groups z_1 ... z_L with a top-down Markov chain as the prior; subclasses define the inference.

    .. math:: p(z) = p(z_L) \prod_{i<L} p(z_i | z_{i+1})

    Group i has the cost ``kl/i``, numbered from the bottom: ``kl/0`` is that of z_1. With samples it is the log-ratio
    at the draw.

    The code concatenates all groups, z_1 first: its first ``widths[0]`` entries are all that a decoder p(x |
    z_1) needs. ``q`` and ``p`` are the groups' conditional distributions given the draws.

    Args:
        widths: latents of each group, from the bottom up.
        hidden: width of the hidden layer between a group and the prior of the next lower one.

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
        """p(z_i | z_{i+1}) of a group, counting from 0; N(0, I) for the top."""
        return self.top.standard() if above is None else softplus_normal(self.priors[group](above))

    def split(self, z: Tensor) -> tuple[Tensor, ...]:
        """The groups of a code (..., sum of widths), from the bottom up."""
        return z.split(self.widths, -1)

    def code(self, z: list[Tensor], q: list[Diagonal], p: list[Diagonal], sampled: bool) -> Code:
        """The code of all groups, from the bottom up, with their costs."""
        groups = enumerate(zip(z, q, p, strict=True))
        costs = {f"kl/{i}": ratio(*group) if sampled else kl(*group[1:]) for i, group in groups}
        return Code(torch.cat(z, -1), costs, joined(q), joined(p))

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw n codes from the prior, the top group first: (n, sum of widths)."""
        z = [self.top.sample(n).z]
        for i in reversed(range(len(self.widths) - 1)):
            z.insert(0, self.prior(i, z[0]).sample())
        return Code(torch.cat(z, -1))


class Ladder(Hierarchy):
    r"""A hierarchy with top-down inference: the prior's chain, corrected by bottom-up estimates.

    .. math:: q(z|x) = q(z_L|x) \prod_{i<L} q(z_i | z_{i+1}, x)

    The top q is the bottom-up estimate; each lower q is the product (`combine`) of its estimate and p(z_i |
    z_{i+1}). Without samples the costs are closed forms given the draws of the groups above.

    Args:
        widths: latents of each group, from the bottom up.
        features: width of the encoder's features for each group, from the bottom up.
        hidden: width of the hidden layer between a group and the prior of the next lower one.

    Raises:
        RequestError: no group, or the numbers of widths and features differ.

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
        """Infer z top-down from features ``[(B, F_1), ..., (B, F_L)]``, given from the bottom up."""
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
    r"""A hierarchy with bottom-up inference, each group from the one below: the ladder's baseline.

    .. math:: q(z|x) = q(z_1|x) \prod_{i>1} q(z_i | z_{i-1})

    Without samples the costs are estimates at the draws, in closed form where one group is averaged alone; in `eval()`
    means over fixed antithetic draws.

    Args:
        widths: latents of each group, from the bottom up.
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

    noise: Tensor

    def __init__(self, widths: Sequence[int], features: int, hidden: int = 128) -> None:
        super().__init__(widths, hidden)
        self.register_buffer("noise", antithetic(sum(self.widths)), persistent=False)
        self.first = nn.Linear(features, 2 * self.widths[0])
        self.ups = nn.ModuleList(
            MLP((below,), (2 * above,), (hidden,)) for below, above in itertools.pairwise(self.widths)
        )

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Infer z bottom-up from features (B, F)."""
        if samples:
            found = self._upwards(h, lambda i, q: draw(q, () if i else samples))
            return self.code(*found, True)
        if self.training:
            z, q, p = self._upwards(h, lambda i, q: q.rsample())
            return Code(torch.cat(z, -1), _expected(z, q, p), joined(q), joined(p))
        noise = self.noise[:, None].split(self.widths, -1)
        drawn = self._upwards(h, lambda i, q: q.base_dist.loc + q.base_dist.scale * noise[i])
        costs = {name: cost.mean(0) for name, cost in _expected(*drawn).items()}
        z, q, p = self._upwards(h, lambda i, q: q.mean)
        return Code(torch.cat(z, -1), costs, joined(q), joined(p))

    def _upwards(
        self, h: Tensor, pick: Callable[[int, Diagonal], Tensor]
    ) -> tuple[list[Tensor], list[Diagonal], list[Diagonal]]:
        """The codes of all groups, each picked from its q given the one below, with q and p."""
        q = [softplus_normal(self.first(h))]
        z = [pick(0, q[0])]
        for i, up in enumerate(self.ups, 1):
            q.append(softplus_normal(up(z[-1])))
            z.append(pick(i, q[-1]))
        return z, q, [self.prior(i, above) for i, above in enumerate([*z[1:], None])]


def _expected(z: list[Tensor], q: list[Diagonal], p: list[Diagonal]) -> dict[str, Tensor]:
    """Estimates of E[log q - log p] of each group at draws, with the closed form of what can be averaged.

    That is log q of a group given the one below it, and at the top log p. The other log p are those of the draws: z_i
    and z_{i+1} depend on each other, and KL(q(z_i | z_{i-1}) || p(z_i | z_{i+1})) at a draw of z_{i+1} would be that
    of an independent z_i.
    """
    costs = {
        f"kl/{i}": -one.entropy() - below.log_prob(at)
        for i, (at, one, below) in enumerate(zip(z[:-1], q[:-1], p[:-1], strict=True))
    }
    return {**costs, f"kl/{len(z) - 1}": kl(q[-1], p[-1])}
