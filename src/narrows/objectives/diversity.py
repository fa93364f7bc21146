"""The diversity of codes: a high entropy of the mean of the distribution over codes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from narrows.core import Autoencoder, Pass, Penalty
from narrows.core.schedules import Schedule

__all__ = ["CodeDiversity"]


class CodeDiversity(Penalty):
    r"""Minus the entropy of the codes of a batch, H(E[p(c | z)]), for each token.

    Its sum with the mean entropy of a token's code is minus the mutual information of token and code, so it is
    negative. The bottleneck has a method `diversity`.

    Args:
        weight: a weight or schedule.

    Example:
        >>> CodeDiversity(0.1).weights["diversity"]
        0.1
    """

    def __init__(self, weight: Schedule) -> None:
        super().__init__({"diversity": weight})

    def forward(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The term, a scalar."""
        return {"diversity": model.bottleneck.diversity(passed.features)}  # type: ignore[operator]
