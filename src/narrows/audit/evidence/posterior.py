"""The posterior over latents, where it factorises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from narrows.core import Code
from narrows.core.evidence import Elements

__all__ = ["Posterior", "posterior_of"]


@dataclass(frozen=True)
class Posterior:
    """A factorised posterior over N examples, on Z latents.

    Args:
        mean: (N, Z).
        variance: (N, Z).
        kl: KL of each latent for each example in nats, (N, Z), or None without a closed form.
        ratio: posterior variance over the prior's, (N, Z).
    """

    mean: Tensor
    variance: Tensor
    kl: Tensor | None
    ratio: Tensor


def posterior_of(code: Code, elements: Elements | None = None) -> Posterior | None:
    """Mean, variance and KL of each latent if the posterior factorises, else None; one row for each element."""
    found = _factorised(code, 1 if elements is None else 2)
    if found is None or elements is None:
        return found
    there = elements.present.flatten()
    kl = None if found.kl is None else found.kl[there]
    return Posterior(found.mean[there], found.variance[there], kl, found.ratio[there])


def _factorised(code: Code, rows: int) -> Posterior | None:
    """The same, with the first `rows` axes joined to one."""
    flat: Callable[[Tensor], Tensor] = lambda t: t.flatten(rows).flatten(0, rows - 1)  # noqa: E731
    if code.q is None:
        return None
    try:
        q = _base(code.q)
        mean, variance = flat(q.mean), flat(q.variance)
    except NotImplementedError:
        return None
    kl, prior_variance = None, torch.ones_like(variance)
    if code.p is not None:
        p = _base(code.p)
        try:
            each = kl_divergence(q, p)
            # Dependent latents have a joint KL only.
            kl = flat(each) if each.shape == q.mean.shape else None
            if isinstance(p, Normal):
                prior_variance = flat(p.variance.expand(q.mean.shape))
        except NotImplementedError:
            kl = None
    return Posterior(mean, variance, kl, variance / prior_variance)


def _base(distribution: Distribution) -> Distribution:
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return distribution
