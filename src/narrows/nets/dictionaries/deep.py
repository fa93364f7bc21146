r"""Deep dictionaries: several levels and a sparse code, all solved for by majorisation-minimisation, without SGD.

.. math:: F(Z, D_1 \dots D_L) = \| X - \varphi(\cdots \varphi(Z D_L) \cdots D_2) D_1 \|^2 + \lambda \| Z \|_1

Of each block (the code, or one level) F has a quadratic majoriser, whose minimiser is a gradient step followed by
shrinkage (the code) or by a projection onto rows of length at most 1 (a level): no step can raise F. The curvature
is exact where phi is the identity; elsewhere it is doubled until the quadratic lies above F at its minimiser.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Autoencoder, Batch, Condition, Part, Pass, Tree
from narrows.core.borrowed import Borrowed
from narrows.core.check import choice, number, refuse, whole
from narrows.core.evidence import Latents

__all__ = ["DeepDictionary", "DeepEncoder", "code_step", "cost", "level_step", "sweep"]

_DOUBLINGS = 40
_ROOM = 1e-6
"""Rounding in a comparison of two nearly equal errors."""


def _chain(z: Tensor, levels: list[Tensor], activation: str) -> list[Tensor]:
    """What enters each level, the deepest (the code) last, and before them what comes out: X_hat, U_1 ... U_L = Z."""
    passed = [z]
    for depth in reversed(range(len(levels))):
        out = passed[0] @ levels[depth]
        passed.insert(0, out.tanh() if activation == "tanh" and depth else out)
    return passed


def _error(x: Tensor, z: Tensor, levels: list[Tensor], activation: str) -> Tensor:
    """The squared error of each example, (B,)."""
    return (x - _chain(z, levels, activation)[0]).square().sum(1)


def cost(x: Tensor, z: Tensor, levels: list[Tensor], l1: float, activation: str = "identity") -> float:
    """The objective F, summed over the examples, in double precision."""
    x, z, levels = x.double(), z.double(), [level.double() for level in levels]
    return float(_error(x, z, levels, activation).sum() + l1 * z.abs().sum())


def _gradient(
    x: Tensor, z: Tensor, levels: list[Tensor], activation: str, block: int
) -> tuple[Tensor, Tensor]:
    """The squared error's gradient by a level (from 0), or by the code (block = L), and what enters there."""
    passed = _chain(z, levels, activation)
    back = 2 * (passed[0] - x)
    for depth in range(block):
        back = back @ levels[depth].T
        if activation == "tanh" and depth + 1 < len(levels):
            back = back * (1 - passed[depth + 1].square())
    entering = passed[min(block + 1, len(levels))]
    return (back if block == len(levels) else entering.T @ back), entering


def code_step(
    x: Tensor,
    z: Tensor,
    levels: list[Tensor],
    l1: float,
    activation: str = "identity",
    start: float | None = None,
) -> Tensor:
    """One shrinkage step of each example's code, (B, N); no example's objective rises, nor depends on the others.

    Args:
        x: examples, (B, D).
        z: their codes.
        levels: the dictionaries, the one nearest to the data first.
        l1: the price of the code's size, lambda.
        activation: ``identity`` or ``tanh``, between the levels.
        start: the `curvature_of` these levels, where the caller has it: it takes longer than the step.
    """
    gradient, _ = _gradient(x, z, levels, activation, len(levels))
    before = _error(x, z, levels, activation)
    curvature = x.new_full((len(x), 1), curvature_of(levels, activation) if start is None else start)

    def moved() -> Tensor:
        target = z - gradient / curvature
        return target.sign() * (target.abs() - l1 / curvature).relu()

    new = moved()
    for _ in range(_DOUBLINGS if activation == "tanh" else 0):
        step = new - z
        above = before + (gradient * step).sum(1) + curvature[:, 0] / 2 * step.square().sum(1)
        failed = _error(x, new, levels, activation) > above + _ROOM * before
        if not bool(failed.any()):
            break
        curvature = torch.where(failed[:, None], 2 * curvature, curvature)
        new = moved()
    return new


def level_step(
    x: Tensor, z: Tensor, levels: list[Tensor], depth: int, activation: str = "identity"
) -> Tensor:
    """One step of one level, (n_l, n_{l-1}), its rows projected onto length at most 1; the error does not rise."""
    gradient, entering = _gradient(x, z, levels, activation, depth)
    before, level = _error(x, z, levels, activation).sum(), levels[depth]
    curvature = curvature_of(levels[:depth], activation) * float(torch.linalg.matrix_norm(entering, 2)) ** 2
    curvature = max(curvature, torch.finfo(x.dtype).tiny)
    for _ in range(_DOUBLINGS):
        new = _in_ball(level - gradient / curvature)
        step = new - level
        above = before + (gradient * step).sum() + curvature / 2 * step.square().sum()
        after = _error(x, z, [*levels[:depth], new, *levels[depth + 1 :]], activation).sum()
        if after <= above + _ROOM * before:
            return new
        curvature *= 2
    return level


def sweep(
    x: Tensor, z: Tensor, levels: list[Tensor], l1: float, activation: str = "identity", inner: int = 1
) -> tuple[Tensor, list[Tensor]]:
    """Every block once, from the code up to the data: `inner` steps of the code, then one of each level."""
    levels, start = list(levels), curvature_of(levels, activation)
    for _ in range(inner):
        z = code_step(x, z, levels, l1, activation, start)
    for depth in reversed(range(len(levels))):
        levels[depth] = level_step(x, z, levels, depth, activation)
    return z, levels


def curvature_of(levels: list[Tensor], activation: str) -> float:
    """Of the squared error through these levels: exact without an activation, else a start (tanh' is at most 1)."""
    if not levels:
        return 2.0
    if activation == "identity":
        product = levels[-1]
        for level in reversed(levels[:-1]):
            product = product @ level
        size = float(torch.linalg.matrix_norm(product, 2)) ** 2
    else:
        size = math.prod(float(torch.linalg.matrix_norm(level, 2)) ** 2 for level in levels)
    return max(2 * size * (1 + 1e-5), torch.finfo(levels[0].dtype).tiny)


def _in_ball(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1.0)


class DeepDictionary(Part):
    """Levels of dictionaries in buffers, which learn after each step from its batch.

    Args:
        widths: how many atoms each level has, the one nearest to the data first; the last is the code's width.
        shape: shape of one example.
        l1: the price of the code's size, lambda.
        activation: ``identity`` or ``tanh``, between the levels.
        sweeps: how often every block is updated on a batch.

    Raises:
        RequestError: no level, or a number out of range.
    """

    smooth = False
    bias: Tensor

    def __init__(
        self,
        widths: tuple[int, ...],
        shape: tuple[int, ...],
        *,
        l1: float,
        activation: str = "identity",
        sweeps: int = 1,
    ) -> None:
        super().__init__()
        if not widths:
            raise refuse("levels", widths, "at least one width")
        self.shape, self.l1, self.sweeps = tuple(shape), number("l1", l1, low=0), whole("sweeps", sweeps)
        self.activation = choice("activation", activation, ("identity", "tanh"))
        self.register_buffer("bias", torch.zeros(math.prod(shape)))
        self.count, before = len(widths), math.prod(shape)
        for depth, width in enumerate(widths):
            rows = nn.functional.normalize(torch.randn(whole("levels", width), before), dim=1)
            self.register_buffer(f"level_{depth}", rows)
            before = width

    @property
    def levels(self) -> list[Tensor]:
        """The dictionaries, the one nearest to the data first."""
        return [self.get_buffer(f"level_{depth}") for depth in range(self.count)]

    def forward(self, z: Tree, condition: Condition = NO_CONDITION) -> Tensor:
        """Decode codes (*samples, B, N) to (*samples, B, *shape)."""
        flat = _chain(z, self.levels, self.activation)[0] + self.bias
        return flat if len(self.shape) == 1 else flat.unflatten(-1, self.shape)

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """The bias becomes the mean."""
        self.bias.copy_(batch.target.flatten(1).mean(0))

    def reinitialise_rows(self, model: Autoencoder, passed: Pass) -> list[tuple[nn.Parameter, Tensor]]:
        """Sweep over all blocks, from the batch's code; no parameter is touched."""
        x, z, levels = passed.batch.x.flatten(1) - self.bias, passed.code[Latents].z, self.levels
        assert isinstance(z, Tensor)
        for _ in range(self.sweeps):
            z, levels = sweep(x, z, levels, self.l1, self.activation)
        for mine, new in zip(self.levels, levels, strict=True):
            mine.copy_(new)
        return []


class DeepEncoder(Part):
    """Hands on the centred example, and a way to take one step of its code.

    Args:
        dictionary: whose levels are used.
    """

    def __init__(self, dictionary: DeepDictionary) -> None:
        super().__init__()
        self._dictionary = Borrowed(dictionary)

    def forward(
        self, x: Tree, condition: Condition = NO_CONDITION
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The centred examples (B, D), and what makes better codes (B, N) of codes."""
        dictionary = self._dictionary.module
        centred, levels = x.flatten(1) - dictionary.bias, dictionary.levels
        start = curvature_of(levels, dictionary.activation)  # the same for all steps of the code
        return centred, lambda z: code_step(centred, z, levels, dictionary.l1, dictionary.activation, start)
