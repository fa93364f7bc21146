"""The nuclear norm of a bottleneck's matrix."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from narrows.core import Autoencoder, Objective, Pass
from narrows.core.schedules import Schedule

__all__ = ["NuclearNorm"]


class NuclearNorm(Objective):
    r"""Distortion plus lambda times the sum of the singular values of the bottleneck's matrix.

    .. math:: E[-\log p(x \mid M f(x))] + \lambda \|M\|_*,\qquad \partial \|M\|_* \ni U V^T

    The bottleneck has a method `matrix`. The gradient is that of the singular value decomposition, at each step.

    Args:
        weight: lambda.

    Reference:
        Mounayer et al., Learning Low-Rank Latent Spaces with Simple Deterministic Autoencoder, 2023. arXiv:2310.16194
    """

    def __init__(self, weight: Schedule = 1.0) -> None:
        super().__init__(weights={"nuclear": weight})

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The norm, a scalar."""
        matrix: Tensor = model.bottleneck.matrix()  # type: ignore[operator]
        return {"nuclear": torch.linalg.svdvals(matrix).sum()}
