"""A normalising flow over codes."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.bottlenecks.priors.flow import FlowPrior
from narrows.core import NO_CONDITION, Batch, Code, Condition, Loss, Pass, Symbols
from narrows.priors.drawn import StandardCodes

__all__ = ["NormalisingFlow"]


class NormalisingFlow(StandardCodes):
    r"""An autoregressive flow f from codes to N(0, I), trained on the likelihood of draws of the codes.

    .. math:: -\log p(z) = -\log N(f(\tilde z);\, 0, I)
              - \log\left|\det \frac{\partial f}{\partial \tilde z}\right| + \sum_j \log \sigma_j,\qquad
              \tilde z = (z - \mu) / \sigma

    mu and sigma are the mean and the standard deviation of the codes. The density is exact, and found in one pass; a
    draw takes Z passes.

    Args:
        kind: ``nsf``, monotonic splines between -5 and 5, or ``maf``, affine in each number.
        transforms: number of transformations.
        width: width of the two hidden layers of each.
        draws: of a code with a posterior, learn draws from it instead of its mean.

    Raises:
        RequestError: the symbols are not real numbers, or only one, or an option is out of range.
        WorkError: zuko is not installed.

    Example:
        >>> prior = NormalisingFlow(Symbols((4,)), width=8)
        >>> prior.sample(2).shape, prior.nll(torch.zeros(3, 4)).shape
        (torch.Size([2, 4]), torch.Size([3]))

    Reference:
        Papamakarios, Pavlakou, Murray, Masked Autoregressive Flow for Density Estimation, 2017. arXiv:1705.07057;
        Durkan, Bekasov, Murray, Papamakarios, Neural Spline Flows, 2019. arXiv:1906.04032
    """

    def __init__(
        self,
        symbols: Symbols,
        *,
        kind: str = "nsf",
        transforms: int = 3,
        width: int = 128,
        draws: bool = True,
    ) -> None:
        super().__init__(symbols, draws)
        self.density = FlowPrior(self.size, kind, transforms, width)

    def nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of codes (n, *shape), in nats, (n,)."""
        z = self.standard(symbols.flatten(1))
        return self.scale.log().sum() - self.density().log_prob(z)

    def loss(self, batch: Batch, step: int = 0, passed: Pass | None = None) -> Loss:
        """The mean nll of draws of the codes."""
        z = self.drawn(batch)
        nll = self.nll(z).mean()
        return Loss(nll, {"nll": nll.detach()}, Pass(batch, Code(z)))

    @torch.no_grad()
    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Tensor:
        """n codes (n, *shape), in their own scale."""
        return self.own(self.density().sample((n,)))
