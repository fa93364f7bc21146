"""Modules with several sets of weights, such as draws of a posterior, that are kept while they are trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from narrows.core import NO_CONDITION, Condition, Part, Pass
from narrows.core.check import whole

__all__ = ["DecoderSets", "EncoderSets", "WeightSets"]


class WeightSets(Part):
    """A module and up to K sets of its weights.

    After every `thin` steps beyond the first `burn_in` ones the weights are stored; the newest K sets are kept. In
    training, and as long as there are no sets, the module's own weights are used; in `eval()`, all sets.

    Args:
        module: the module, whose parameters are trained.
        sets: K.
        thin: steps between two sets.
        burn_in: steps after which the first interval begins.

    Raises:
        RequestError: an argument out of range.
    """

    weights: Tensor
    stored: Tensor

    def __init__(self, module: nn.Module, sets: int, thin: int, burn_in: int) -> None:
        super().__init__()
        self.module = module
        self.thin, self.burn_in = whole("thin", thin), whole("burn_in", burn_in, low=0)
        known = dict(module.named_parameters())
        self.names, self.shapes = tuple(known), tuple(p.shape for p in known.values())
        self.sizes = tuple(p.numel() for p in known.values())
        self.register_buffer("weights", torch.zeros(whole("sets", sets), sum(self.sizes)))
        self.register_buffer("stored", torch.zeros((), dtype=torch.long))
        self.step = 0

    def before_step(self, step: int) -> None:
        """Remember the number of the step."""
        self.step = step

    @torch.no_grad()
    def after_step(self, passed: Pass) -> None:
        """Store the weights, if it is their turn."""
        done = self.step + 1 - self.burn_in
        if done > 0 and done % self.thin == 0:
            self.store()

    @torch.no_grad()
    def store(self) -> None:
        """Store the weights in place of the oldest set."""
        if self.sizes:
            row = torch.cat([p.flatten() for p in self.module.parameters()])
            self.weights[int(self.stored) % len(self.weights)] = row
        self.stored += 1

    @property
    def available(self) -> int:
        """The number of stored sets."""
        return min(int(self.stored), len(self.weights))

    def members(self) -> list[Tensor | None]:
        """The sets in use, each (P,); None is the module's own weights."""
        count = 0 if self.training else self.available
        return [None] if not count else list(self.weights[:count])

    def under(self, weights: Tensor | None, *inputs: Any) -> Any:
        """The module's output under a set of weights, (P,), through which gradients flow."""
        if weights is None:
            return self.module(*inputs)
        parts = zip(self.names, weights.split(self.sizes), self.shapes, strict=True)
        return functional_call(self.module, {name: part.view(shape) for name, part, shape in parts}, inputs)


class EncoderSets(WeightSets):
    """An encoder with sets of weights; its output is the mean over the sets.

    Example:
        >>> from narrows.nets.mlp import MLP
        >>> net = EncoderSets(MLP((3,), (2,), ()), sets=4, thin=1, burn_in=0)
        >>> net.store()
        >>> net.eval()(torch.zeros(5, 3)).shape, net.available
        (torch.Size([5, 2]), 1)
    """

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(B, ...) -> (B, Z)."""
        return torch.stack([self.under(one, x, condition) for one in self.members()]).mean(0)


class DecoderSets(WeightSets):
    """A decoder with sets of weights; its output has an axis of the sets before those of an example.

    Args:
        module: from (*samples, B, Z) to (*samples, B, *shape).
        rank: number of axes of `shape`.
        sets: K.
        thin: steps between two sets.
        burn_in: steps after which the first interval begins.

    Example:
        >>> from narrows.nets.mlp import MLP
        >>> net = DecoderSets(MLP((2,), (3,), ()), 1, sets=4, thin=1, burn_in=0).eval()
        >>> net.store()
        >>> net.store()
        >>> net(torch.zeros(5, 2)).shape
        torch.Size([5, 2, 3])
    """

    def __init__(self, module: nn.Module, rank: int, sets: int, thin: int, burn_in: int) -> None:
        super().__init__(module, sets, thin, burn_in)
        self.rank = rank

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, Z) -> (*samples, B, sets, *shape)."""
        return self.joined([self.under(one, z, condition) for one in self.members()])

    def joined(self, outputs: list[Tensor]) -> Tensor:
        """The outputs of all sets as one tensor."""
        return torch.stack(outputs, -1 - self.rank)
