"""A normalising flow as the prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from narrows.core import Part
from narrows.core.check import choice, optional, refuse, whole

__all__ = ["KINDS", "FlowPrior"]

KINDS = {"maf": "MAF", "nsf": "NSF"}
"""Names of flows: masked autoregressive flow, neural spline flow."""


class Flowed(Distribution):
    """The distribution of a flow, over R^Z.

    Args:
        flow: a distribution of zuko, which does not declare its support.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, flow: Distribution) -> None:
        self.flow = flow
        super().__init__(flow.batch_shape, flow.event_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """R^Z."""
        return constraints.real_vector

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws, with gradients to the flow."""
        drawn: Tensor = self.flow.rsample(torch.Size(sample_shape))
        return drawn

    def log_prob(self, value: Tensor) -> Tensor:
        """log p of codes (..., Z), in nats, (...)."""
        found: Tensor = self.flow.log_prob(value)
        return found


class FlowPrior(Part):
    r"""p(z) by an autoregressive flow f from N(0, I), learned with the model.

    .. math:: \log p(z) = \log N(f(z);\, 0, I) + \log \left| \det \frac{\partial f}{\partial z} \right|

    Args:
        latent: the width of the code, Z, at least 2: an autoregressive map of one number is affine.
        kind: ``maf``, affine in each latent, or ``nsf``, monotonic splines between -5 and 5.
        transforms: the number of transformations.
        width: width of the two hidden layers of each.

    Raises:
        RequestError: an argument out of range.
        WorkError: zuko is not installed.

    Reference:
        Papamakarios, Pavlakou, Murray, Masked Autoregressive Flow for Density Estimation, 2017.
        arXiv:1705.07057; Durkan, Bekasov, Murray, Papamakarios, Neural Spline Flows, 2019. arXiv:1906.04032
    """

    def __init__(self, latent: int, kind: str = "nsf", transforms: int = 3, width: int = 64) -> None:
        super().__init__()
        if whole("latent", latent) < 2:
            raise refuse("latent", latent, "at least 2 latents for a flow", "Use a mixture of Gaussians.")
        made = getattr(
            optional("zuko", "flows", "learn a flow").flows, KINDS[choice("kind", kind, tuple(KINDS))]
        )
        hidden = (whole("width", width),) * 2
        self.flow: nn.Module = made(
            latent, transforms=whole("transforms", transforms), hidden_features=hidden
        )

    def forward(self) -> Flowed:
        """The flow over one code."""
        return Flowed(self.flow())
