"""The evidence lower bound, with a weight on the divergence and free bits."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributions import Independent

from narrows.bottlenecks.gaussian.diagonal import kl
from narrows.core import Autoencoder, Code, Objective, Pass
from narrows.core.check import at_least
from narrows.core.schedules import Schedule

__all__ = ["Elbo"]


class Elbo(Objective):
    r"""The negative evidence lower bound, its divergence weighted by beta and free below a floor.

    .. math:: -E_{q(z|x)}[\log p(x|z)] + \beta \sum_j \max(\lambda, E_x \mathrm{KL}_j)

    With ``free_bits=0`` this is the plain bound (beta = 1) or that of the beta-VAE. What is missing to the
    floor is a term of its own, ``free_bits``, so that ``kl`` stays what passing the bottleneck costs.

    Args:
        beta: weight of the divergence, a schedule: a warm-up is ``"linear:0:1:2000"``.
        free_bits: lambda, nats that each latent (of a ladder: each group) may carry at no further cost.

    Raises:
        RequestError: `free_bits` is negative, or `beta` is no schedule.

    Example:
        >>> Elbo(beta="linear:0:1:10").weight("kl/0", 5)
        0.5

    Reference:
        Higgins et al., beta-VAE, 2017. Kingma et al., Improved Variational Inference with Inverse
        Autoregressive Flow, 2016, appendix C.8 (free bits). arXiv:1606.04934
    """

    def __init__(self, *, beta: Schedule = 1.0, free_bits: float = 0.0) -> None:
        super().__init__(weights={"kl": beta, "free_bits": beta})
        self.free_bits = at_least("free_bits", free_bits, 0)

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """What is missing to the floor, a scalar: below it, this cancels the gradient of the divergence."""
        if not self.free_bits:
            return {}
        return {"free_bits": (self.free_bits - rates(passed.code)).relu().sum()}


def rates(code: Code) -> Tensor:
    """The mean nats of each unit of a code over the batch: by latent, or by group where there are several."""
    groups = [cost.mean() for name, cost in code.costs.items() if name.startswith("kl/")]
    if groups or not isinstance(code.q, Independent) or not isinstance(code.p, Independent):
        return torch.stack(groups or [code.costs["kl"].mean()])
    return kl(code.q, code.p, elementwise=True).flatten(0, -2).mean(0)
