"""A contrastive objective of pairs: common latents agree, differential ones are not active in both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from narrows.core import Autoencoder, Pass, dense
from narrows.objectives.sparse import SparseObjective

__all__ = ["Contrast"]


class Contrast(SparseObjective):
    r"""A term for pairs (+, -) of codes, whose first latents are common, c, and the others differential, d.

    .. math:: \| c^+ - c^- \|_1 + \| d^+ \circ d^- \|_1

    It has the same units as the penalty on the latents.

    Args:
        common: number of common latents, which come first.
        options: arguments of `SparseObjective`; the weight of the term is that of ``contrast``.

    Reference:
        Poupart, Contrastive Sparse Autoencoders for Interpreting Planning of Chess-Playing Agents, 2024.
        arXiv:2406.04028; the form of both parts as in the author's code.
    """

    def __init__(self, *, common: int, **options: Any) -> None:
        super().__init__(**options)
        self.common = common

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The contrastive term of each pair, (B,)."""
        first, second = dense(passed.code.z).unbind(1)
        apart = (first[:, : self.common] - second[:, : self.common]).abs().sum(1)
        both = (first[:, self.common :] * second[:, self.common :]).abs().sum(1)
        unit: Any = model.bottleneck.unit
        return {"contrast": unit * (apart + both)}
