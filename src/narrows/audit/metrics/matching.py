"""Comparison of a learned dictionary with the true one: cosines, one-to-one matching, F1 of activity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.core import Sparse
from narrows.core.check import optional, refuse

__all__ = ["Match", "cosines", "f1", "match", "on"]


def cosines(truth: Tensor, learned: Tensor, signed: bool = False) -> Tensor:
    r"""The absolute cosine of each true atom with each learned one, :math:`|\cos(a_i, w_j)|`, (M, N) float64.

    The value is absolute, since a signed code may use the negative of an atom. Latents that are never negative cannot:
    the cosine of their atoms is `signed`.

    Args:
        truth: true atoms, (M, ...).
        learned: learned atoms, (N, ...), of the same shape.
        signed: keep the sign.

    Example:
        >>> cosines(torch.eye(2), torch.tensor([[0.0, -3.0]])).tolist()
        [[0.0], [1.0]]
        >>> cosines(torch.eye(2), torch.tensor([[0.0, -3.0]]), signed=True).tolist()
        [[0.0], [-1.0]]
    """
    a, b = (F.normalize(atoms.detach().double().flatten(1), dim=1) for atoms in (truth, learned))
    if a.shape[1] != b.shape[1]:
        raise refuse("learned", tuple(b.shape), f"atoms of {a.shape[1]} numbers, like the true ones")
    found = (a @ b.T).clamp(-1, 1)
    return found if signed else found.abs()


class Match:
    """The one-to-one matching of true and learned atoms with the largest sum of similarities (Hungarian method).

    Args:
        similarity: of each true atom with each learned one, (M, N), such as `cosines`.

    Raises:
        WorkError: SciPy is not installed.

    Example:
        >>> found = Match(torch.tensor([[0.9, 0.8], [0.8, 0.1]], dtype=torch.double))
        >>> found.pairs, round(found.mcc, 6)
        ([(0, 1), (1, 0)], 0.8)
    """

    def __init__(self, similarity: Tensor) -> None:
        optimize = optional("scipy.optimize", "report", "match dictionaries")
        rows, columns = optimize.linear_sum_assignment(similarity.cpu().numpy(), maximize=True)
        self.similarity = similarity
        self.true, self.learned = torch.from_numpy(rows), torch.from_numpy(columns)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The numbers of the true and the learned atom of each pair."""
        return list(zip(self.true.tolist(), self.learned.tolist(), strict=True))

    @property
    def mcc(self) -> float:
        """The mean similarity over all true atoms; an atom without a partner counts as 0."""
        return float(self.similarity[self.true, self.learned].sum()) / max(1, len(self.similarity))

    @property
    def mean_max(self) -> float:
        """The mean over the true atoms of the largest cosine with any learned atom; several may share a partner."""
        if not self.similarity.numel():
            return 0.0
        return float(self.similarity.amax(1).mean())


def match(truth: Tensor, learned: Tensor) -> Match:
    """The matching of a learned dictionary (N, ...) with the true one (M, ...)."""
    return Match(cosines(truth, learned))


def on(z: Tensor | Sparse) -> Tensor:
    """Whether each latent is on (not zero), (B, N); in codes with several positions, at any of them."""
    if not isinstance(z, Sparse):
        return (z.detach() != 0).flatten(1, -2).any(1) if z.ndim > 2 else z.detach() != 0
    counts = torch.zeros(len(z), z.width, dtype=torch.uint8, device=z.values.device)
    return (
        counts.scatter_reduce(1, z.indices.flatten(1), (z.values != 0).flatten(1).to(torch.uint8), "amax") > 0
    )


def f1(truth: Tensor, guess: Tensor) -> Tensor:
    r"""The harmonic mean of precision and recall of each column, :math:`2 TP / (2 TP + FP + FN)`, (M,) float64.

    Args:
        truth: whether each true atom is on, (B, M).
        guess: whether its partner is, (B, M).

    Returns:
        F1; 0 if neither is ever on.

    Example:
        >>> f1(torch.tensor([[True], [True], [False]]), torch.tensor([[True], [False], [False]]))
        tensor([0.6667], dtype=torch.float64)
    """
    both = (truth & guess).double().sum(0)
    either = truth.double().sum(0) + guess.double().sum(0)
    return torch.where(either > 0, 2 * both / either.clamp_min(1), 0.0)
