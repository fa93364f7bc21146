"""The von Neumann entropy of a batch of codes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize

from narrows.core import Autoencoder, Pass, Penalty, dense
from narrows.core.schedules import Schedule

__all__ = ["CodeEntropy", "code_entropy"]

_TINY = 1e-12
"""The least eigenvalue, as the derivative of the entropy is infinite at 0."""


def code_entropy(z: Tensor) -> Tensor:
    r"""The von Neumann entropy of the autocorrelation of codes of length 1, in nats.

    .. math:: S(C) = -\sum_j \lambda_j \log \lambda_j,\qquad
              C = \frac1B \sum_i \frac{z_i z_i^T}{\|z_i\|^2}

    The eigenvalues lambda of C sum to 1. The entropy is log Z for codes that point in all directions alike, and 0 for
    codes on a line through the origin; its exponential is an effective rank.

    Args:
        z: (B, Z).

    Example:
        >>> code_entropy(torch.tensor([[2.0, 0.0], [0.0, -1.0]])).exp()
        tensor(2.)
    """
    values = torch.linalg.svdvals(normalize(z, dim=-1)).square() / len(z)
    return torch.special.entr(values.clamp_min(_TINY)).sum()


class CodeEntropy(Penalty):
    r"""Minus the von Neumann entropy of a batch of codes: a larger entropy spreads codes over more directions.

    .. math:: L - \alpha\, S(C)

    The entropy is one number for a batch, whose weight is relative to the distortion of one example. Of a posterior,
    the code is the mean.

    Args:
        alpha: its weight; a negative one concentrates codes on few directions.

    Reference:
        Kim et al., VNE: An Effective Method for Improving Deep Representation by Manipulating Eigenvalue
        Distribution, 2023, section 3. arXiv:2304.01434
    """

    def __init__(self, alpha: Schedule = 1.0) -> None:
        super().__init__({"vne": alpha})

    def forward(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """Minus the entropy, a scalar."""
        mean = passed.code.mean
        z = dense(passed.code.z) if mean is None else mean
        return {"vne": -code_entropy(z.reshape(-1, z.shape[-1]))}
