"""The importance-weighted bound, and three estimators of its gradient."""

from __future__ import annotations

import math

from torch import Tensor
from torch.distributions import Independent, Normal

from narrows.bottlenecks.gaussian.diagonal import Diagonal, diagonal
from narrows.bottlenecks.variational import ratio
from narrows.core import Autoencoder, Code, Loss, Objective, Pass
from narrows.core.check import RequestError, choice, whole
from narrows.core.schedules import Schedule

__all__ = ["Importance", "importance_bound"]


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
    variance,
      unbiased for K = 1, biased for K > 1;
    - ``dreg``: doubly reparameterised, sum_k v_k^2 dlog w_k/dz_k dz_k/dphi: less variance, unbiased.

    The decoder's gradient and the value are the same for all three. A weight beta other than 1 changes the
    factor v_k^2 of ``dreg`` to v_k (1 - beta + beta v_k), which keeps it unbiased.

    Args:
        samples: K, at least 1.
        gradient: the estimator: ``standard``, ``stl`` or ``dreg``.
        beta: weight of log q(z|x) - log p(z) in the log-weights; 1 is the bound.

    Raises:
        RequestError: `samples` is below 1 or `gradient` unknown.

    Reference:
        Burda, Grosse, Salakhutdinov, Importance Weighted Autoencoders, 2016. arXiv:1509.00519;
        Roeder, Wu, Duvenaud, Sticking the Landing, 2017. arXiv:1703.09194;
        Tucker et al., Doubly Reparameterized Gradient Estimators, 2019. arXiv:1810.04152
    """

    def __init__(
        self,
        samples: int = 5,
        *,
        gradient: str = "standard",
        beta: Schedule = 1.0,
    ) -> None:
        draws = whole("samples", samples)
        super().__init__(samples=(draws,), reduce=importance_bound, weights={"kl": beta})
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


def _constant(code: Code) -> Diagonal:
    """The posterior of a code with its parameters detached."""
    if not diagonal(code.q):
        raise RequestError(
            "The gradients `stl` and `dreg` need one diagonal Gaussian posterior. Use ``gradient='standard'``."
        )
    base = code.q.base_dist
    return Independent(
        Normal(base.loc.detach(), base.scale.detach(), validate_args=False), 1, validate_args=False
    )
