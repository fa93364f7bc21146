"""The evidence lower bound, with a weight on the KL divergence and free bits."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from narrows.bottlenecks.gaussian.diagonal import diagonal, kl
from narrows.core import Autoencoder, Code, Objective, Pass
from narrows.core.check import at_least
from narrows.core.schedules import Schedule

__all__ = ["Elbo"]


class Elbo(Objective):
    r"""The negative evidence lower bound, its KL divergence weighted by beta, with free bits.

    .. math:: -\alpha E_{q(z|x)}[\log p(x|z)] + \beta \sum_j \max(\lambda, E_x \mathrm{KL}_j)

    With ``free_bits=0`` and alpha = 1 this is the ELBO (beta = 1) or the objective of the beta-VAE. The difference to
    lambda is a separate term, ``free_bits``, so that ``kl`` remains the cost of the bottleneck.

    Args:
        beta: weight of the KL divergence, a schedule: a warm-up is ``"linear:0:1:2000"``.
        free_bits: lambda, nats of each latent that are not penalised: of each group of a ladder, and of the whole code
            if posterior or prior is no diagonal Gaussian.
        alpha: weight of the distortion, a schedule.

    Raises:
        RequestError: `free_bits` is negative, or `beta` is not a schedule.

    Example:
        >>> Elbo(beta="linear:0:1:10").weight("kl/0", 5)
        0.5

    Reference:
        Higgins et al., beta-VAE, 2017. Kingma et al., Improved Variational Inference with Inverse
        Autoregressive Flow, 2016, appendix C.8 (free bits). arXiv:1606.04934
    """

    def __init__(self, *, beta: Schedule = 1.0, free_bits: float = 0.0, alpha: Schedule = 1.0) -> None:
        super().__init__(weights={"distortion": alpha, "kl": beta, "free_bits": beta})
        self.free_bits = at_least("free_bits", free_bits, 0)

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The differences to lambda, a scalar, which cancel the gradient of the KL below lambda."""
        if not self.free_bits:
            return {}
        return {"free_bits": (self.free_bits - rates(passed.code)).relu().sum()}


def rates(code: Code) -> Tensor:
    """The mean nats over the batch: of each latent, or group; of the code if its KL is no sum over latents."""
    groups = [cost.mean() for name, cost in code.costs.items() if name.startswith("kl/")]
    if groups or not diagonal(code.q) or not diagonal(code.p):
        return torch.stack(groups or [code.costs["kl"].mean()])
    return kl(code.q, code.p, elementwise=True).flatten(0, -2).mean(0)
