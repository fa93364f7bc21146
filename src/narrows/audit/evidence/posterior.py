"""The posterior over latents: its moments, and where it factorises the KL divergence of each latent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence

from narrows.core import Code
from narrows.core.evidence import Elements

__all__ = ["Posterior", "posterior_of"]


@dataclass(frozen=True)
class Posterior:
    """The moments of a posterior over N examples, on Z latents.

    Args:
        mean: (N, Z).
        variance: (N, Z).
        kl: KL of each latent for each example in nats, (N, Z), or None: latents are dependent, or there is no
            closed form.
        ratio: posterior variance over the prior's, (N, Z), or None if the prior's has no closed form.
    """

    mean: Tensor
    variance: Tensor
    kl: Tensor | None
    ratio: Tensor | None


def posterior_of(code: Code, elements: Elements | None = None) -> Posterior | None:
    """The moments of each latent, or None if they have no closed form; one row for each element."""
    found = _moments(code, 1 if elements is None else 2)
    if found is None or elements is None:
        return found
    there = elements.present.flatten()
    kl, ratio = (None if each is None else each[there] for each in (found.kl, found.ratio))
    return Posterior(found.mean[there], found.variance[there], kl, ratio)


def _moments(code: Code, rows: int) -> Posterior | None:
    """The same, with the first `rows` axes joined to one."""
    flat: Callable[[Tensor], Tensor] = lambda t: t.flatten(rows).flatten(0, rows - 1)  # noqa: E731
    if code.q is None:
        return None
    try:
        q = _base(code.q)
        mean, variance = flat(q.mean), flat(q.variance)
    except NotImplementedError:
        return None
    if code.p is None:
        return Posterior(mean, variance, None, variance)
    p, kl, ratio = _base(code.p), None, None
    with suppress(NotImplementedError):
        each = kl_divergence(q, p)
        # Dependent latents have a joint KL only.
        kl = flat(each) if each.shape == q.mean.shape else None
    with suppress(NotImplementedError):
        ratio = variance / flat(p.variance.expand(q.mean.shape))
    return Posterior(mean, variance, kl, ratio)


def _base(distribution: Distribution) -> Distribution:
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return distribution
