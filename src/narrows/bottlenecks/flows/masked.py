"""Autoregressive flows of a posterior, by zuko."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from narrows.bottlenecks.flows.posterior import Amortised, Map
from narrows.core.check import optional, refuse, whole

__all__ = ["IAF", "MAF", "NSF", "Masked"]


class _Zuko(NamedTuple):
    """A map of zuko, which names its methods differently.

    Args:
        transform: a transform of zuko.
    """

    transform: Any

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.transform.call_and_ladj(z)
        return found

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        found, volume = self.transform.inv.call_and_ladj(z)
        return found, -volume


class Masked(Amortised):
    r"""Autoregressive maps, whose masked networks read outputs c of the encoder.

    .. math:: z'_j = \tau\big(z_j;\, \theta_j(z_{<j}, c)\big)

    Args:
        latent: Z, at least 2: an autoregressive map of one number has nothing to read.
        transforms: number of maps.
        width: width of the two hidden layers of each.
        context: number of the encoder's outputs that each reads.

    Raises:
        RequestError: an argument out of range.
        WorkError: zuko is not installed.
    """

    flow: ClassVar[str]
    """Its name in zuko."""

    inverted: ClassVar[bool] = False
    """Whether the networks read the outputs z'_{<j} of the map instead of its inputs."""

    def __init__(self, latent: int, *, transforms: int = 2, width: int = 64, context: int = 32) -> None:
        super().__init__()
        if whole("latent", latent) < 2:
            fix = "Use ``flow='planar'``."
            raise refuse("latent", latent, "at least 2 latents for an autoregressive flow", fix)
        made = getattr(optional("zuko", "flows", "make an autoregressive flow").flows, self.flow)
        self.inputs = whole("context", context)
        hidden = (whole("width", width),) * 2
        found = made(
            latent,
            context,
            transforms=whole("transforms", transforms),
            hidden_features=hidden,
            activation=nn.ELU,
        )
        self.maps: nn.Module = found.transform

    def forward(self, h: Tensor) -> Sequence[Map]:
        """The maps for features (B, inputs), joined to one."""
        joined = self.maps(h)
        return [_Zuko(joined.inv if self.inverted else joined)]


class IAF(Masked):
    """Inverse autoregressive flow, affine in each latent: draws are made in parallel.

    Reference:
        Kingma et al., Improved Variational Inference with Inverse Autoregressive Flow, 2016. arXiv:1606.04934
    """

    flow = "MAF"


class MAF(Masked):
    """Masked autoregressive flow, affine in each latent: densities are found in parallel, draws in Z passes.

    Reference:
        Papamakarios, Pavlakou, Murray, Masked Autoregressive Flow for Density Estimation, 2017. arXiv:1705.07057
    """

    flow = "MAF"
    inverted = True


class NSF(Masked):
    """Neural spline flow, monotonic splines between -5 and 5, whose draws are made in parallel.

    Reference:
        Durkan, Bekasov, Murray, Papamakarios, Neural Spline Flows, 2019. arXiv:1906.04032
    """

    flow = "NSF"
