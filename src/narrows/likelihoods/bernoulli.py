"""The Bernoulli likelihood of binary values."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from narrows.core import Likelihood

__all__ = ["Bernoulli"]


class Bernoulli(Likelihood):
    r"""Independent Bernoulli variables with logits l.

    ``-log p(x | l) = sum_d softplus(l_d) - x_d l_d``. For values between 0 and 1 this is the binary
    cross-entropy: a loss with its minimum at sigmoid(l) = x, and the expected nll of x after stochastic
    binarisation, though not a normalised density of x.

    Args:
        shape: shape of one target.

    Example:
        >>> Bernoulli((2,)).nll(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]))
        tensor([1.3863])
    """

    def elements_nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """The cross-entropies of x and sigmoid(parameters), (*samples, B, *shape)."""
        # one pass less than softplus(l) - x * l, and a quarter faster, including the backward pass
        return torch.addcmul(F.softplus(parameters), x, parameters, value=-1)

    def mean(self, parameters: Tensor) -> Tensor:
        """sigmoid(parameters)."""
        return torch.sigmoid(parameters)

    def sample(self, parameters: Tensor) -> Tensor:
        """A binary draw."""
        return torch.bernoulli(torch.sigmoid(parameters))
