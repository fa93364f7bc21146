"""The importance-weighted bound, three estimators of its gradient, and its combinations with other bounds."""

from __future__ import annotations

import math

from torch import Tensor
from torch.distributions import Independent, Normal

from narrows.bottlenecks.gaussian.diagonal import Diagonal, diagonal
from narrows.bottlenecks.variational import ratio
from narrows.core import Autoencoder, Code, Loss, Objective, Pass
from narrows.core.check import RequestError, choice, number, whole
from narrows.core.schedules import Schedule

__all__ = ["Combined", "Importance", "Partial", "importance_bound"]

_LEAST_SHARE = -50.0
"""The least log-share of a group in the sum of all weights: gradients are multiplied by its inverse."""


def importance_bound(nats: Tensor) -> Tensor:
    r"""The negative importance-weighted bound, from the negative log-weights of the samples.

    .. math:: -\frac1B \sum_b \log \frac1K \sum_k w_{kb}

    Args:
        nats: -log w, (K, ..., B): distortion plus log q(z|x) - log p(z).

    Returns:
        A scalar: the mean over all axes except the first, which is that of the samples.

    Example:
        >>> import math
        >>> importance_bound(torch.tensor([[0.0], [math.log(3.0)]])).exp().round(decimals=4)
        tensor(1.5000)
    """
    return (math.log(len(nats)) - (-nats).logsumexp(0)).mean()


class Importance(Objective):
    r"""The negative importance-weighted bound, which is tighter for more samples.

    .. math:: -E\left[\log \frac1K \sum_{k=1}^K w_k\right],\quad
              w_k = \frac{p(x|z_k)\,p(z_k)}{q(z_k|x)},\quad z_k \sim q(z|x)

    With the normalised weights v_k = w_k / sum w, the encoder's gradient is estimated by

    - ``standard``: the reparameterised gradient of the bound, whose signal-to-noise ratio falls with K;
    - ``stl``: without the score of q, sum_k v_k dlog w_k/dz_k dz_k/dphi ("sticking the landing"): less
      variance, unbiased for K = 1, biased for K > 1;
    - ``dreg``: doubly reparameterised, sum_k v_k^2 dlog w_k/dz_k dz_k/dphi: less variance, unbiased.

    The decoder's gradient and the value are the same for all three. A weight beta other than 1 changes the
    factor v_k^2 of ``dreg`` to v_k (1 - beta + beta v_k), which keeps it unbiased.

    Args:
        samples: K, at least 1.
        estimates: M, bounds from K samples each, whose mean is the objective (MIWAE).
        gradient: the estimator: ``standard``, ``stl`` or ``dreg``.
        beta: weight of log q(z|x) - log p(z) in the log-weights; 1 is the bound.

    Raises:
        RequestError: `samples` or `estimates` is below 1 or `gradient` unknown.

    Reference:
        Burda, Grosse, Salakhutdinov, Importance Weighted Autoencoders, 2016. arXiv:1509.00519;
        Roeder, Wu, Duvenaud, Sticking the Landing, 2017. arXiv:1703.09194;
        Tucker et al., Doubly Reparameterized Gradient Estimators, 2019. arXiv:1810.04152
    """

    def __init__(
        self,
        samples: int = 5,
        *,
        estimates: int = 1,
        gradient: str = "standard",
        beta: Schedule = 1.0,
    ) -> None:
        draws, groups = whole("samples", samples), whole("estimates", estimates)
        shape = (draws, groups) if groups > 1 else (draws,)
        super().__init__(samples=shape, reduce=importance_bound, weights={"kl": beta})
        self.gradient = choice("gradient", gradient, ("standard", "stl", "dreg"))

    def terms(self, model: Autoencoder, passed: Pass) -> dict[str, Tensor]:
        """The terms of the log-weights; for `stl` and `dreg`, q is detached in them and z is not."""
        terms = super().terms(model, passed)
        if self.gradient != "standard":
            q, p = _constant(passed.code), passed.code.p
            assert p is not None  # a bottleneck with a posterior has a prior
            terms["kl"] = ratio(passed.code.z, q, p)
        return terms

    def of(self, model: Autoencoder, passed: Pass, step: int) -> Loss:
        """The loss for a pass."""
        terms, z = self.terms(model, passed), passed.code.z
        nats = self.weigh(terms, step)
        if self.gradient == "dreg" and z.requires_grad:
            # The gradient through z has the factor v_k once, from the bound; here it gets the second factor.
            beta = self.weight("kl", step)
            share = 1 - beta + beta * (-nats.detach()).softmax(0).unsqueeze(-1)
            z.register_hook(lambda gradient: gradient * share)
        return Loss(self.reduce(nats), {name: t.detach().mean() for name, t in terms.items()}, passed)


class Combined(Importance):
    r"""A mixture of the evidence lower bound and the importance-weighted bound, of the same samples (CIWAE).

    .. math:: -\beta\, E\Big[\frac1K \sum_{k=1}^K \log w_k\Big]
              - (1 - \beta)\, E\Big[\log \frac1K \sum_{k=1}^K w_k\Big]

    Args:
        samples: K, at least 1.
        beta: the share of the evidence lower bound, from 0 to 1.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> nats = torch.tensor([[0.0], [1.0]])
        >>> Combined(2, beta=1.0).reduce(nats), Combined(2, beta=0.0).reduce(nats) == importance_bound(nats)
        (tensor(0.5000), tensor(True))

    Reference:
        Rainforth et al., Tighter Variational Bounds are Not Necessarily Better, 2018, section 6. arXiv:1802.04537
    """

    def __init__(self, samples: int = 5, *, beta: float = 0.5) -> None:
        super().__init__(samples)
        self.share = number("beta", beta, low=0, high=1)
        self.reduce = self._mixture

    def _mixture(self, nats: Tensor) -> Tensor:
        return self.share * nats.mean() + (1 - self.share) * importance_bound(nats)


class Partial(Importance):
    r"""The bound of all M K samples for the decoder, the mean of M bounds of K samples for the encoder (PIWAE).

    .. math:: \text{decoder: } -E\Big[\log \frac{1}{MK} \sum_{m,k} w_{mk}\Big],\qquad
              \text{encoder: } -\frac1M \sum_m E\Big[\log \frac1K \sum_k w_{mk}\Big]

    Both gradients come from one pass. That of the first bound for a log-weight is its share of the sum S of all
    weights, that of the second is larger by the factor S / (M S_m), S_m the sum of group m. Gradients that reach the
    encoder, through z and through the density of q, are multiplied by it. The share S_m / S is taken as e^-50 at
    least, which the decoder does not notice, so that no product overflows. The value is that of the first bound.

    Args:
        samples: K, at least 1.
        estimates: M, at least 1.

    Raises:
        RequestError: an argument out of range.

    Reference:
        Rainforth et al., Tighter Variational Bounds are Not Necessarily Better, 2018, section 6. arXiv:1802.04537
    """

    smooth = False

    def __init__(self, samples: int = 5, *, estimates: int = 5) -> None:
        super().__init__(samples, estimates=estimates)
        self.reduce = _over_all

    def of(self, model: Autoencoder, passed: Pass, step: int) -> Loss:
        """The loss for a pass, with the encoder's gradients rescaled."""
        terms, z, p = self.terms(model, passed), passed.code.z, passed.code.p
        assert p is not None  # a bottleneck with a posterior has a prior
        base = _gaussian(passed.code).base_dist
        # A copy of q for each sample, so that its gradients can be rescaled before they are summed.
        loc, scale = (t.expand(z.shape) for t in (base.loc, base.scale))
        q = Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)
        terms["kl"] = ratio(z, q, p)
        nats = self.weigh(terms, step)
        total = self.reduce(nats)
        if z.requires_grad and nats.dim() > 2:
            known = -nats.detach()
            groups = known.logsumexp(0)
            share = (groups - groups.logsumexp(0)).clamp_min(_LEAST_SHARE).exp()
            surrogate = (known.softmax(0) * share * nats).sum((0, 1)).mean()
            total = total.detach() + surrogate - surrogate.detach()  # the value of the bound, these gradients
            factor = (1 / (len(groups) * share))[None, ..., None]
            for tensor in (z, loc, scale):
                tensor.register_hook(lambda gradient: gradient * factor)
        return Loss(total, {name: t.detach().mean() for name, t in terms.items()}, passed)


def _over_all(nats: Tensor) -> Tensor:
    """The negative bound of all samples, of one axis or two."""
    return importance_bound(nats.flatten(0, -2))


def _constant(code: Code) -> Diagonal:
    """The posterior of a code with its parameters detached."""
    base = _gaussian(code).base_dist
    return Independent(
        Normal(base.loc.detach(), base.scale.detach(), validate_args=False), 1, validate_args=False
    )


def _gaussian(code: Code) -> Diagonal:
    """The posterior of a code, a diagonal Gaussian.

    Raises:
        RequestError: it is of another kind.
    """
    if not diagonal(code.q):
        raise RequestError(
            "Gradients `stl` and `dreg`, and those of `piwae`, need one diagonal Gaussian posterior. "
            "Use ``gradient='standard'``."
        )
    return code.q
