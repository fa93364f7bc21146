"""A budget for the share of cells with several codes."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from narrows.core import Autoencoder, Pass
from narrows.core.check import number
from narrows.core.evidence import FineCells
from narrows.core.objective import Penalty
from narrows.core.schedules import Schedule

__all__ = ["CellBudget"]


class CellBudget(Penalty):
    r"""The squared distance of the share of fine cells from a target, per element of an example.

    .. math:: D\, (\bar g - \rho)^2

    The mean of g is over all cells of the batch, so that one example may have more fine cells than another; D is the
    number of elements of an example, over which the distortion is a sum.

    Args:
        weight: weight of the term ``budget``, gamma.
        share: the target, rho.

    Reference:
        Huang et al., Towards Accurate Image Coding, 2023, equation 6. arXiv:2305.11718. Their code adds the term twice.
    """

    def __init__(self, weight: Schedule, share: float) -> None:
        super().__init__({"budget": weight})
        self.share = number("share", share, low=0, high=1)

    def forward(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The term, a scalar."""
        elements = math.prod(model.likelihood.shape)
        return {"budget": elements * (passed.code[FineCells].gates.mean() - self.share).square()}
