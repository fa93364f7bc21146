"""What is counted and measured of sparse codes, defined once: FVU, cosine, L0, density, dead and dense, coherence.

The trainer's held-out measurements and the audit both read from here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from narrows.core import Sparse
from narrows.core.check import refuse

__all__ = [
    "DENSE",
    "Coherence",
    "Explained",
    "Firing",
    "code_count",
    "coherence",
    "cosine",
    "dead",
    "dense_above",
    "density",
    "firings",
    "fvu",
    "l0",
]

DENSE = 0.1
"""A latent on in more than this share of the codes, and in 4 times as many as the mean one, is hardly a feature."""

EDGES = (-5.0, -4.5, -4.0, -3.5, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0)
"""Of the density histogram: log10 of the share of codes in which a latent is on."""

_CHUNK, _PROBES = 512, 256


def fvu(x: Tensor, x_hat: Tensor, weight: Tensor | None = None) -> float:
    """The fraction of variance unexplained: ``sum |x - x_hat|^2 / sum |x - mean(x)|^2``.

    The mean is taken for each coordinate over the examples, so that predicting it scores exactly 1.

    Args:
        x: the truth, (B, ...).
        x_hat: the reconstruction, of the same shape.
        weight: how much each element counts, broadcastable to x; all alike when None.

    Example:
        >>> x = torch.tensor([[0.0], [2.0]])
        >>> fvu(x, torch.full_like(x, 1.0))
        1.0
    """
    if x.shape != x_hat.shape or x.ndim < 1 or len(x) == 0:
        raise refuse("x_hat", tuple(x_hat.shape), f"of the same shape as x, {tuple(x.shape)}, and not empty")
    truth = x.detach().double()
    counts = torch.ones((), dtype=torch.double) if weight is None else weight.detach().double()
    error = float(((truth - x_hat.detach().double()).square() * counts).sum())
    spread = float(((truth - truth.mean(0)).square() * counts).sum())
    if spread == 0:
        return 0.0 if error == 0 else math.inf
    return error / spread


def firings(z: Tensor | Sparse) -> Tensor:
    """In how many codes each latent is not zero, (N,) whole numbers.

    Args:
        z: codes (..., N); every axis but the last is a code of its own.
    """
    if not isinstance(z, Sparse):
        return (z.detach() != 0).flatten(0, -2).sum(0)
    on = z.indices[z.values != 0]
    return torch.bincount(on.flatten(), minlength=z.width)


def density(z: Tensor | Sparse) -> Tensor:
    """The share of codes in which each latent fires, (N,) float64.

    Example:
        >>> density(torch.tensor([[1.0, 0.0], [2.0, 3.0]]))
        tensor([1.0000, 0.5000], dtype=torch.float64)
    """
    return firings(z).double() / code_count(z)


def l0(z: Tensor | Sparse) -> float:
    """How many latents are not zero in one code, on average.

    Example:
        >>> l0(torch.tensor([[1.0, 0.0], [2.0, 3.0]]))
        1.5
    """
    return float(firings(z).sum()) / code_count(z)


def dead(z: Tensor | Sparse) -> int:
    """How many latents fire in none of these codes.

    Example:
        >>> dead(torch.tensor([[1.0, 0.0, 0.0], [2.0, 3.0, 0.0]]))
        1
    """
    return int((firings(z) == 0).sum())


def code_count(z: Tensor | Sparse) -> int:
    """How many codes there are: all axes but the last.

    Example:
        >>> code_count(torch.zeros(3, 4, 9))
        12
    """
    values = z.values if isinstance(z, Sparse) else z
    count = values[..., 0].numel() if values.ndim > 1 and values.shape[-1] else 0
    if count == 0:
        raise refuse("z", tuple(values.shape), "codes (..., N) with at least one code")
    return count


def dense_above(share: Tensor) -> float:
    """The density above which a latent counts as dense: a tenth, or 4 times the mean where that is more."""
    return max(DENSE, 4 * float(share.mean()))


def cosine(x: Tensor, x_hat: Tensor) -> Tensor:
    """The cosine of each example with its reconstruction, (B,) float64; 0 where one of them is 0.

    Example:
        >>> cosine(torch.tensor([[3.0, 4.0]]), torch.tensor([[6.0, 8.0]]))
        tensor([1.], dtype=torch.float64)
    """
    a, b = x.detach().double().flatten(1), x_hat.detach().double().flatten(1)
    return torch.nn.functional.cosine_similarity(a, b, dim=1)


def coherence(atoms: Tensor, probes: int | None = None) -> float:
    r"""The largest absolute cosine of two atoms, :math:`\max_{i \ne j} |\cos(a_i, a_j)|`; 0 where there are no two.

    Args:
        atoms: one a row, (N, ...); rows of length 0 are left out.
        probes: compare so many atoms, drawn with a fixed seed, with all: a lower bound for wide dictionaries.

    Example:
        >>> round(coherence(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 3.0]])), 4)
        0.7071
    """
    rows = atoms.detach().flatten(1).float()
    lengths = torch.linalg.vector_norm(rows, dim=1)
    living = (lengths > 0).nonzero().squeeze(1)
    unit = rows[living] / lengths[living, None]
    if len(unit) < 2:
        return 0.0
    some = torch.arange(len(unit), device=unit.device)
    if probes is not None and probes < len(unit):
        some = torch.randperm(len(unit), generator=torch.Generator().manual_seed(0))[:probes].to(unit.device)
    largest = 0.0
    for chunk in some.split(_CHUNK):
        size = (unit[chunk] @ unit.T).abs()
        size[torch.arange(len(chunk), device=unit.device), chunk] = 0
        largest = max(largest, float(size.max()))
    return min(largest, 1.0)


@dataclass(frozen=True)
class Explained:
    """How much of some data a model explains, whatever batches they come in.

    Args:
        count: examples, B.
        mean: their mean, (D,) float64.
        spread: the sum of squares around that mean.
        error: the sum of squared errors.
        cosines: the sum of the cosines of examples and reconstructions.

    Example:
        >>> x = torch.tensor([[0.0], [2.0], [4.0]])
        >>> halves = Explained.of(x[:1], x[:1] + 1) + Explained.of(x[1:], x[1:] + 1)
        >>> halves.read()["fvu"] == fvu(x, x + 1) == 0.375
        True
    """

    count: int
    mean: Tensor
    spread: float
    error: float
    cosines: float

    @classmethod
    def of(cls, x: Tensor, x_hat: Tensor) -> Explained:
        """The tally of a batch x and its reconstruction, (B, ...) each."""
        truth = x.detach().double().flatten(1)
        mean = truth.mean(0)
        error = float((truth - x_hat.detach().double().flatten(1)).square().sum())
        spread = float((truth - mean).square().sum())
        return cls(len(truth), mean, spread, error, float(cosine(x, x_hat).sum()))

    def __add__(self, other: Explained) -> Explained:
        count = self.count + other.count
        gap = other.mean - self.mean
        between = float(gap.square().sum()) * self.count * other.count / count
        return Explained(
            count,
            self.mean + gap * (other.count / count),
            self.spread + other.spread + between,
            self.error + other.error,
            self.cosines + other.cosines,
        )

    def read(self) -> Mapping[str, float | list[float]]:
        """``fvu`` as `fvu` defines it, and the mean ``cosine``."""
        unexplained = self.error / self.spread if self.spread else (math.inf if self.error else 0.0)
        return {"fvu": unexplained, "cosine": self.cosines / self.count}


@dataclass(frozen=True)
class Firing:
    """How often latents were on.

    Args:
        fires: in how many codes each latent was not zero, (N,).
        count: codes.

    Example:
        >>> Firing.of(torch.tensor([[1.0, 0.0], [2.0, 0.0]])).read()["silent"]
        0.5
    """

    fires: Tensor
    count: int

    @classmethod
    def of(cls, z: Tensor | Sparse) -> Firing:
        """The tally of codes (..., N)."""
        return cls(firings(z), code_count(z))

    def __add__(self, other: Firing) -> Firing:
        return Firing(self.fires + other.fires, self.count + other.count)

    def read(self) -> Mapping[str, float | list[float]]:
        """``l0``; the shares ``silent`` (never on in these codes) and ``dense``; ``density``, counts between `EDGES`.

        The first count is of what is rarer than the first edge but not silent.
        """
        share = self.fires.double().cpu() / self.count
        log = share[share > 0].log10()
        inner = torch.tensor(EDGES[:-1], dtype=torch.double)
        counts = torch.bincount(torch.bucketize(log, inner, right=True), minlength=len(EDGES))
        return {
            "l0": float(share.sum()),
            "silent": float((share == 0).double().mean()),
            "dense": float((share > dense_above(share)).double().mean()),
            "density": counts.double().tolist(),
        }


@dataclass(frozen=True)
class Coherence:
    """The coherence of a dictionary, measured once when it is read; of many atoms some are compared with all.

    Args:
        atoms: one a row, (N, ...).
    """

    atoms: Tensor

    def __add__(self, other: Coherence) -> Coherence:
        return self

    def read(self) -> Mapping[str, float | list[float]]:
        """``coherence``."""
        return {"coherence": coherence(self.atoms, _PROBES)}
