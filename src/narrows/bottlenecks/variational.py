"""A bottleneck with any posterior and any prior, and the KL divergence between them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from operator import itemgetter

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence

from narrows.core import (
    NO_CONDITION,
    Accumulator,
    Autoencoder,
    Bottleneck,
    Code,
    Condition,
    Pass,
    Tree,
    seeded,
    tree_map,
)
from narrows.core.check import whole

__all__ = ["DRAWS", "Variational", "antithetic", "ratio"]

DRAWS = 16
"""The number of fixed draws over which a KL divergence without closed form is averaged in `eval()`."""

_RECORDED = 256
"""The largest number of latents whose rates are recorded in training."""


def ratio(z: Tensor, q: Distribution, p: Distribution) -> Tensor:
    """The log-ratio log q(z) - log p(z) at a draw from q, an unbiased estimate of KL(q || p)."""
    difference: Tensor = q.log_prob(z) - p.log_prob(z)
    return difference


def antithetic(width: int, draws: int = DRAWS) -> Tensor:
    r"""Fixed standard normal vectors in pairs :math:`\pm\epsilon`, each of their coordinates of mean square 1.

    Means over them are exact for functions of degree one and, coordinate by coordinate, of degree two, so that
    the KL divergence between diagonal Gaussians is exact.

    Args:
        width: Z.
        draws: their number, even.

    Returns:
        (draws, Z), the same at every call.

    Example:
        >>> noise = antithetic(3)
        >>> noise.shape, bool(noise.mean(0).abs().max() < 1e-6), noise.square().mean(0).round(decimals=5)
        (torch.Size([16, 3]), True, tensor([1., 1., 1.]))
    """
    whole("draws", draws, low=2)
    dice = torch.Generator("cpu").manual_seed(0)
    half = torch.randn(draws // 2, whole("width", width), generator=dice, device="cpu", dtype=torch.float64)
    half = half / half.square().mean(0).sqrt()
    return torch.cat([half, -half]).to(torch.get_default_dtype())


class Rates:
    """Sums of the rate of each latent over examples.

    Args:
        total: (Z,).
        count: the number of examples.

    Example:
        >>> (Rates(torch.tensor([2.0, 0.0]), 2) + Rates(torch.tensor([4.0, 0.0]), 1)).read()
        {'rates': [2.0, 0.0]}
    """

    def __init__(self, total: Tensor, count: int) -> None:
        self.total, self.count = total, count

    def __add__(self, other: Rates) -> Rates:
        return Rates(self.total + other.total, self.count + other.count)

    def read(self) -> dict[str, float | list[float]]:
        """The mean rate of each latent in nats, as ``rates``."""
        return {"rates": (self.total / self.count).tolist()}


def each_rate(q: Distribution | None, p: Distribution | None) -> Tensor | None:
    """KL(q || p) of each latent in closed form, (..., Z), if they are independent; else None."""
    if not isinstance(q, Independent) or not isinstance(p, Independent):
        return None
    with suppress(NotImplementedError):
        rate = kl_divergence(q.base_dist, p.base_dist)
        return rate if q.base_dist.batch_shape == rate.shape else None
    return None


class Variational(Bottleneck):
    r"""q(z | x) and p(z), which subclasses define by `posterior` and `prior`.

    .. math:: z \sim q(z|x),\qquad
              \mathrm{kl} = \mathrm{KL}(q(z|x)\,\|\,p(z)) = E_{q(z|x)}[\log q(z|x) - \log p(z)]

    The cost ``kl`` is

    - with `samples`: log q(z | x) - log p(z) at each draw;
    - otherwise the closed form (`divergence`), if there is one;
    - otherwise, in training, the log-ratio at the draw; in `eval()` its mean over `DRAWS` fixed draws
      (`fixed_draws`), which is deterministic, and for each example independent of the others.

    In `eval()` without samples, z is the `centre` of the posterior.

    A posterior that is a sum over elements, or a prior that depends on the example, is a bottleneck of its own
    with a `forward`.

    Reference:
        Kingma and Welling, Auto-Encoding Variational Bayes, 2014. arXiv:1312.6114
    """

    def posterior(self, h: Tree) -> Distribution:
        """q(z | x) from features (B, ...): batch shape (B,), and events (Z,)."""
        raise NotImplementedError(f"{type(self).__name__} must define posterior")

    def prior(self) -> Distribution:
        """p(z) of one code: batch shape (), and events (Z,)."""
        raise NotImplementedError(f"{type(self).__name__} must define prior")

    def centre(self, q: Distribution) -> Tensor:
        """The code in `eval()`, (B, Z): the mean of the posterior."""
        mean: Tensor = q.mean
        return mean

    def divergence(self, q: Distribution, p: Distribution) -> Tensor | None:
        """KL(q || p) in closed form, (B,), or None: that of torch, if it has one."""
        try:
            return kl_divergence(q, p)
        except NotImplementedError:
            return None

    def fixed_draws(self, q: Distribution, h: Tree) -> Tensor:
        """The draws for the KL divergence in `eval()`, (K, B, Z): deterministic, and alike for every example.

        Here each example's posterior is sampled from the same seed, one example after the other. A subclass
        whose draws are a function of noise uses the same noise for all examples (`antithetic` if it is
        Gaussian), which is faster.

        Args:
            q: the posterior.
            h: the features it was computed from.
        """
        if len(q.batch_shape) != 1:
            raise NotImplementedError(f"{type(self).__name__} must define fixed_draws")
        drawn = []
        for i in range(q.batch_shape[0]):
            with seeded(0):
                one = tree_map(itemgetter(slice(i, i + 1)), h)
                drawn.append(self.posterior(one).rsample((DRAWS,)))
        return torch.cat(drawn, 1)

    def kl(self, q: Distribution, p: Distribution, h: Tree, z: Tensor, drawn: bool) -> Tensor:
        """KL(q || p) without samples, (B,): closed form, log-ratio at a draw, or its mean over fixed draws."""
        closed = self.divergence(q, p)
        if closed is not None:
            return closed
        return ratio(z, q, p) if drawn else ratio(self.fixed_draws(q, h), q, p).mean(0)

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Draw z from the posterior that the features describe."""
        q, p = self.posterior(h), self.prior()
        drawn = self.training or bool(samples)
        z = q.rsample(samples) if drawn else self.centre(q)
        return Code(z, {"kl": ratio(z, q, p) if samples else self.kl(q, p, h, z, drawn)}, q, p)

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw n codes from the prior, (n, Z)."""
        p = self.prior()
        return Code(p.sample((n,)), p=p)

    def metrics(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor | Accumulator]:
        """The rate of each latent in nats, ``rates``, if it has a closed form and the latents are at most 256."""
        rates = each_rate(passed.code.q, passed.code.p)
        if rates is None or rates.ndim < 2 or rates.shape[-1] > _RECORDED:
            return {}
        flat = rates.detach().double().flatten(0, -2)
        return {"rates": Rates(flat.sum(0), len(flat))}

    def features(self, code: Code) -> Tensor:
        """The centre of the posterior, (B, Z), for downstream probes."""
        assert code.q is not None
        return self.centre(code.q).flatten(1)
