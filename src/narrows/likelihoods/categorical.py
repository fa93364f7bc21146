"""The categorical likelihood."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.core import Likelihood
from narrows.core.check import whole

__all__ = ["Categorical"]


class Categorical(Likelihood):
    """Each element is one of N classes, with N logits.

    ``-log p(x | l) = sum_d [logsumexp_n l_dn - l_d,x_d]``.

    Args:
        shape: shape of one target.
        classes: number of classes, N.
        scaled: the target holds grey levels from 0 to 1, n / (N - 1) for class n; otherwise it holds class
            indices, integers of any dtype.

    Raises:
        RequestError: fewer than two classes.

    Example:
        >>> Categorical((1,), 4).nll(torch.zeros(1, 4), torch.tensor([[1.0]]))
        tensor([1.3863])
    """

    def __init__(self, shape: tuple[int, ...], classes: int = 256, scaled: bool = True) -> None:
        super().__init__(shape)
        self.channels = self.classes = whole("classes", classes, low=2)
        self.scaled, self.discrete = scaled, not scaled

    def logits(self, parameters: Tensor) -> Tensor:
        """The normalised logits, classes last: (*samples, B, *shape, N)."""
        axis = -len(self.shape)
        spread = parameters.unflatten(axis, (self.classes, self.shape[0]))
        return spread.movedim(axis - 1, -1).log_softmax(-1)

    def index(self, x: Tensor) -> Tensor:
        """The class index of each element of a target."""
        return (x * (self.classes - 1)).round().long() if self.scaled else x.long()

    def elements_nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """The negative log-probabilities of the target's classes, (*samples, B, *shape)."""
        logits = self.logits(parameters)
        index = self.index(x).expand(logits.shape[:-1]).unsqueeze(-1)
        return -logits.gather(-1, index).squeeze(-1)

    def mean(self, parameters: Tensor) -> Tensor:
        """The expected grey level if `scaled`, else the most probable class."""
        logits = self.logits(parameters)
        if not self.scaled:
            return logits.argmax(-1)
        levels = torch.linspace(0, 1, self.classes, dtype=logits.dtype, device=logits.device)
        return logits.exp() @ levels

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw: grey levels if `scaled`, else class indices."""
        drawn = torch.distributions.Categorical(logits=self.logits(parameters)).sample()
        return drawn.to(parameters.dtype) / (self.classes - 1) if self.scaled else drawn
