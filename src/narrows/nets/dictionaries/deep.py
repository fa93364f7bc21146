r"""Deep dictionaries: several levels and a sparse code, fitted by majorisation-minimisation without SGD.

.. math:: F(Z, D_1 \dots D_L) = \| X - \varphi(\cdots \varphi(Z D_L) \cdots D_2) D_1 \|^2 + \lambda \| Z \|_1

For each block (the code, or one level), F has a quadratic majoriser. Its minimiser is a gradient step
followed by soft thresholding (the code) or by a projection onto rows of norm at most 1 (a level), so no step
can increase F. The curvature is exact if phi is the identity; otherwise it is doubled until the quadratic
lies above F at its minimiser.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Autoencoder, Batch, Condition, Part, Pass, Tree
from narrows.core.check import choice, number, refuse, whole
from narrows.core.evidence import Latents
from narrows.core.reference import ModuleReference

__all__ = ["DeepDictionary", "DeepEncoder", "code_step", "cost", "level_step", "sweep"]

_DOUBLINGS = 40
_ROOM = 1e-6
"""Relative tolerance in comparisons of two nearly equal errors."""


def _chain(z: Tensor, levels: list[Tensor], activation: str) -> list[Tensor]:
    """The output and the input of each level, starting at the data: X_hat, U_1 ... U_L = Z."""
    outputs = [z]
    for depth in reversed(range(len(levels))):
        out = outputs[0] @ levels[depth]
        outputs.insert(0, out.tanh() if activation == "tanh" and depth else out)
    return outputs


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
    """The gradient of the squared error by a level (from 0) or by the code (block = L), and its input."""
    outputs = _chain(z, levels, activation)
    back = 2 * (outputs[0] - x)
    for depth in range(block):
        back = back @ levels[depth].T
        if activation == "tanh" and depth + 1 < len(levels):
            back = back * (1 - outputs[depth + 1].square())
    inputs = outputs[min(block + 1, len(levels))]
    return (back if block == len(levels) else inputs.T @ back), inputs


def code_step(
    x: Tensor,
    z: Tensor,
    levels: list[Tensor],
    l1: float,
    activation: str = "identity",
    start: float | None = None,
) -> Tensor:
    """One proximal gradient step of the codes, (B, N); it increases no example's objective.

    Args:
        x: examples, (B, D).
        z: their codes.
        levels: the dictionaries, starting with the one nearest to the data.
        l1: the weight of the L1 penalty, lambda.
        activation: ``identity`` or ``tanh``, between the levels.
        start: the `curvature_of` these levels if it is known already; computing it takes longer than the
            step.
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
    """One projected gradient step of one level, (n_l, n_{l-1}), to rows of norm at most 1.

    The error does not increase.
    """
    gradient, inputs = _gradient(x, z, levels, activation, depth)
    before, level = _error(x, z, levels, activation).sum(), levels[depth]
    curvature = curvature_of(levels[:depth], activation) * float(torch.linalg.matrix_norm(inputs, 2)) ** 2
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
    """Update every block once: `inner` steps of the code, then a step of each level from the code outwards."""
    levels, start = list(levels), curvature_of(levels, activation)
    for _ in range(inner):
        z = code_step(x, z, levels, l1, activation, start)
    for depth in reversed(range(len(levels))):
        levels[depth] = level_step(x, z, levels, depth, activation)
    return z, levels


def curvature_of(levels: list[Tensor], activation: str) -> float:
    """The curvature of the squared error by the input of these levels, an estimate with activations."""
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
    """Several levels of dictionaries, stored as buffers, which are updated after each step on its batch.

    Args:
        widths: number of atoms of each level, starting nearest to the data; the last is the code's width.
        shape: shape of one example.
        l1: the weight of the L1 penalty, lambda.
        activation: ``identity`` or ``tanh``, between the levels.
        sweeps: number of updates of every block per batch.

    Raises:
        RequestError: there is no level, or a number is out of range.
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
        """The dictionaries, starting with the one nearest to the data."""
        return [self.get_buffer(f"level_{depth}") for depth in range(self.count)]

    def forward(self, z: Tree, condition: Condition = NO_CONDITION) -> Tensor:
        """Decode codes (*samples, B, N) to (*samples, B, *shape)."""
        flat = _chain(z, self.levels, self.activation)[0] + self.bias
        return flat if len(self.shape) == 1 else flat.unflatten(-1, self.shape)

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Set the bias to the mean of the data."""
        self.bias.copy_(batch.target.flatten(1).mean(0))

    def reinitialise_rows(self, model: Autoencoder, passed: Pass) -> list[tuple[nn.Parameter, Tensor]]:
        """Update all blocks, starting from the batch's code; no parameter changes."""
        x, z, levels = passed.batch.x.flatten(1) - self.bias, passed.code[Latents].z, self.levels
        assert isinstance(z, Tensor)
        for _ in range(self.sweeps):
            z, levels = sweep(x, z, levels, self.l1, self.activation)
        for level, new in zip(self.levels, levels, strict=True):
            level.copy_(new)
        return []


class DeepEncoder(Part):
    """Returns the centred example and a function that takes one step of its code.

    Args:
        dictionary: the dictionary whose levels are used.
    """

    def __init__(self, dictionary: DeepDictionary) -> None:
        super().__init__()
        self._dictionary = ModuleReference(dictionary)

    def forward(
        self, x: Tree, condition: Condition = NO_CONDITION
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The centred examples (B, D), and a function from codes (B, N) to improved codes."""
        dictionary = self._dictionary.module
        centred, levels = x.flatten(1) - dictionary.bias, dictionary.levels
        start = curvature_of(levels, dictionary.activation)  # the same for all steps of the code
        return centred, lambda z: code_step(centred, z, levels, dictionary.l1, dictionary.activation, start)
