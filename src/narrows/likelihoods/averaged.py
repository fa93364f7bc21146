"""A likelihood averaged over sets of weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from narrows.core import Likelihood
from narrows.nets.ensemble import WeightSets

__all__ = ["Averaged"]


class Averaged(Likelihood):
    r"""The mean of p(x | z, w) over sets of weights w.

    .. math:: -\log p(x) = -\log \frac{1}{K} \sum_{k=1}^K p(x \mid f(z_k; w_k))

    The decoder's output has an axis of the sets, (*samples, B, K, *parameter_shape). Parameters of the likelihood
    itself, such as a variance, are part of each set.

    Args:
        base: the likelihood of one set.
        sets: largest number of sets.
        thin: steps between two sets.
        burn_in: steps after which the first interval begins.

    Example:
        >>> from narrows.likelihoods import Bernoulli
        >>> both = torch.tensor([[[0.0], [100.0]]])  # probabilities 1/2 and 1
        >>> likelihood = Averaged(Bernoulli((1,)), sets=2, thin=1, burn_in=0)
        >>> likelihood.nll(both, torch.ones(1, 1)).exp(), likelihood.mean(both)
        (tensor([1.3333]), tensor([[0.7500]]))
    """

    def __init__(self, base: Likelihood, sets: int, thin: int, burn_in: int) -> None:
        super().__init__(base.shape)
        self.sets = WeightSets(_Method(base), sets, thin, burn_in)
        self.channels, self.unit, self.discrete = base.channels, base.unit, base.discrete

    @property
    def base(self) -> Likelihood:
        """The likelihood of one set."""
        method = self.sets.module
        assert isinstance(method, _Method)
        return method.base

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """The shape of the decoder's output for one example and one set."""
        return self.base.parameter_shape

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """-log of the mean of p(x), (*samples, B)."""
        nll = self._each("nll", parameters, x, weight)
        return nll[0] if len(nll) == 1 else math.log(len(nll)) - (-nll).logsumexp(0)

    def mean(self, parameters: Tensor) -> Tensor:
        """The mean over the sets of their means, (*samples, B, *shape)."""
        return self._each("mean", parameters).mean(0)

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw of x under one of the sets, which is drawn for each example."""
        drawn = self._each("sample", parameters)
        rank = len(self.shape)
        chosen = torch.randint(len(drawn), drawn.shape[1 : drawn.ndim - rank], device=drawn.device)
        index = chosen.reshape(1, *chosen.shape, *[1] * rank).expand(1, *drawn.shape[1:])
        return drawn.gather(0, index).squeeze(0)

    def elements(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """The number of elements of each target with nonzero weight, (B,)."""
        return self.base.elements(x, weight)

    def _each(self, name: str, parameters: Tensor, *inputs: Any) -> Tensor:
        """A method of the likelihood under each set, (K, ...)."""
        parts = parameters.movedim(-1 - len(self.parameter_shape), 0)
        members = self.sets.members()
        if members == [None] or not self.sets.sizes:  # without parameters of its own
            found: Tensor = self.sets.under(None, name, parts, *inputs)
            return found
        return torch.stack(
            [self.sets.under(one, name, part, *inputs) for one, part in zip(members, parts, strict=True)]
        )


class _Method(nn.Module):
    """A likelihood whose methods are called by name, so that they can be called under other weights."""

    def __init__(self, base: Likelihood) -> None:
        super().__init__()
        self.base = base

    def forward(self, name: str, *inputs: Any) -> Any:
        return getattr(self.base, name)(*inputs)
