"""Metrics of sparse codes: FVU, cosine, L0, density, dead and dense latents, coherence.

The trainer's held-out metrics and the audit share these definitions.
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
"""A latent counts as dense if its density exceeds this value and 4 times the mean density."""

EDGES = (-5.0, -4.5, -4.0, -3.5, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0)
"""Bin edges of the density histogram: log10 of the fraction of codes in which a latent is active."""

_CHUNK, _PROBES = 512, 256


def fvu(x: Tensor, x_hat: Tensor, weight: Tensor | None = None) -> float:
    """The fraction of variance unexplained: ``sum |x - x_hat|^2 / sum |x - mean(x)|^2``.

    The mean is taken for each coordinate over the examples, so that predicting it scores exactly 1.

    Args:
        x: the target, (B, ...).
        x_hat: the reconstruction, of the same shape.
        weight: weight of each element, broadcastable to x; 1 when None.

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
    """The number of codes in which each latent is nonzero, (N,) integers.

    Args:
        z: codes (..., N).
    """
    if not isinstance(z, Sparse):
        return (z.detach() != 0).flatten(0, -2).sum(0)
    on = z.indices[z.values != 0]
    return torch.bincount(on.flatten(), minlength=z.width)


def density(z: Tensor | Sparse) -> Tensor:
    """The fraction of codes in which each latent is nonzero, (N,) float64.

    Example:
        >>> density(torch.tensor([[1.0, 0.0], [2.0, 3.0]]))
        tensor([1.0000, 0.5000], dtype=torch.float64)
    """
    return firings(z).double() / code_count(z)


def l0(z: Tensor | Sparse) -> float:
    """The mean number of nonzero latents per code.

    Example:
        >>> l0(torch.tensor([[1.0, 0.0], [2.0, 3.0]]))
        1.5
    """
    return float(firings(z).sum()) / code_count(z)


def dead(z: Tensor | Sparse) -> int:
    """The number of latents that are zero in all of these codes.

    Example:
        >>> dead(torch.tensor([[1.0, 0.0, 0.0], [2.0, 3.0, 0.0]]))
        1
    """
    return int((firings(z) == 0).sum())


def code_count(z: Tensor | Sparse) -> int:
    """The number of codes: the product of all axes but the last.

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
    """The density above which a latent counts as dense: the larger of 0.1 and 4 times the mean density."""
    return max(DENSE, 4 * float(share.mean()))


def cosine(x: Tensor, x_hat: Tensor) -> Tensor:
    """The cosine similarity of each example and its reconstruction, (B,) float64; 0 if one of them is 0.

    Example:
        >>> cosine(torch.tensor([[3.0, 4.0]]), torch.tensor([[6.0, 8.0]]))
        tensor([1.], dtype=torch.float64)
    """
    a, b = x.detach().double().flatten(1), x_hat.detach().double().flatten(1)
    return torch.nn.functional.cosine_similarity(a, b, dim=1)


def coherence(atoms: Tensor, probes: int | None = None) -> float:
    r"""The mutual coherence of a dictionary, :math:`\max_{i \ne j} |\cos(a_i, a_j)|`; 0 for one atom.

    Args:
        atoms: one atom per row, (N, ...); zero rows are ignored.
        probes: the number of atoms, drawn with a fixed seed, that are compared with all others: a lower bound
            for wide dictionaries. All atoms when None.

    Example:
        >>> round(coherence(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 3.0]])), 4)
        0.7071
    """
    rows = atoms.detach().flatten(1).float()
    lengths = torch.linalg.vector_norm(rows, dim=1)
    nonzero = (lengths > 0).nonzero().squeeze(1)
    unit = rows[nonzero] / lengths[nonzero, None]
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
    """Accumulates FVU and cosine over batches of any size.

    Args:
        count: the number of examples, B.
        mean: their mean, (D,) float64.
        spread: the sum of squared deviations from that mean.
        error: the sum of squared errors.
        cosines: the sum of the cosine similarities of examples and reconstructions.

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
        """The sums of a batch x and its reconstruction, (B, ...) each."""
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
    """Accumulates how often latents are nonzero.

    Args:
        fires: the number of codes in which each latent was nonzero, (N,).
        count: the number of codes.

    Example:
        >>> Firing.of(torch.tensor([[1.0, 0.0], [2.0, 0.0]])).read()["silent"]
        0.5
    """

    fires: Tensor
    count: int

    @classmethod
    def of(cls, z: Tensor | Sparse) -> Firing:
        """The counts of codes (..., N)."""
        return cls(firings(z), code_count(z))

    def __add__(self, other: Firing) -> Firing:
        return Firing(self.fires + other.fires, self.count + other.count)

    def read(self) -> Mapping[str, float | list[float]]:
        """``l0``, the fractions ``silent`` and ``dense``, and ``density``, a histogram over `EDGES`.

        The first bin counts the latents below the first edge that are not silent.
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
    """The coherence of a dictionary, computed once when it is read, with at most 256 probes.

    Args:
        atoms: one atom per row, (N, ...).
    """

    atoms: Tensor

    def __add__(self, other: Coherence) -> Coherence:
        return self

    def read(self) -> Mapping[str, float | list[float]]:
        """``coherence``."""
        return {"coherence": coherence(self.atoms, _PROBES)}
