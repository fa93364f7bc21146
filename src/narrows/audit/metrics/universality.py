"""Agreement of the latents of two dictionaries on the same tokens, also of different models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from narrows.core import Sparse
from narrows.core.check import optional, refuse

__all__ = ["Correlated", "Permuted", "correlated", "csr", "permuted", "rsa", "svcca"]

LEAST, LOW = 10, 0.1
"""A latent on in fewer tokens is rare; partners with a smaller correlation are not matched."""
_VARIANCE = 0.99
_RSA_ROWS = 400


def csr(codes: list[Sparse | Tensor]) -> Any:
    """Codes of some tokens, (T, N) in chunks, as one sparse matrix of SciPy.

    Raises:
        RequestError: a token has several codes.
        WorkError: SciPy is not installed.
    """
    sparse = optional("scipy.sparse", "report", "correlate latents")
    parts = []
    for z in codes:
        if (z.values if isinstance(z, Sparse) else z).ndim != 2:
            raise refuse("runs", "several codes for a token", "one code for each token")
        if isinstance(z, Sparse):
            rows = torch.arange(len(z)).unsqueeze(1).expand_as(z.indices).flatten()
            at = (z.values.flatten().double().numpy(), (rows.numpy(), z.indices.flatten().numpy()))
            parts.append(sparse.csr_matrix(at, shape=(len(z), z.width)))
        else:
            parts.append(sparse.csr_matrix(z.double().numpy()))
    found = sparse.vstack(parts).tocsr()
    found.eliminate_zeros()
    return found


@dataclass(frozen=True)
class Correlated:
    r"""The correlations of the latents of two dictionaries, and their one-to-one partners.

    Args:
        pairs: latents that are each other's partner, (P, 2).
        r: their correlation, (P,).
        best: the mean over the latents of one dictionary of the largest correlation with any of the other, for both
            directions.
        dropped: for each dictionary the number of latents that are ``dead`` (never on), ``rare`` (on in fewer than
            ten tokens), ``many`` (their partner has a better one) or ``low`` (r too small).
        kept: the number of latents of each dictionary that are neither dead nor rare.
        largest: of each of these of the first dictionary, the largest correlation, (N,).
    """

    pairs: Tensor
    r: Tensor
    best: tuple[float, float]
    dropped: tuple[dict[str, int], dict[str, int]]
    kept: tuple[int, int]
    largest: Tensor

    @property
    def matched(self) -> float:
        """The number of pairs as a fraction of the latents of the dictionary with fewer."""
        return len(self.pairs) / max(1, min(self.kept))


def correlated(a: Any, b: Any, low: float = LOW) -> Correlated:
    r"""Match latents by their activations on the same tokens.

    .. math:: r_{ij} = \mathrm{corr}_t(f^a_i(t), f^b_j(t))

    Two latents are partners if each has the largest correlation with the other. Latents that are dead, rare, not the
    best of their best, or correlated by less than `low` are left out. The cost is one product of two sparse matrices.

    It misleads where few tokens are looked at: of many rare latents some correlate by chance. Compare a shuffled
    pairing of the tokens, and take `low` from it.

    Args:
        a: the codes of a dictionary, a sparse matrix (T, N).
        b: those of another on the same tokens, (T, N').
        low: the smallest correlation of partners.

    Raises:
        RequestError: the numbers of tokens differ.

    Reference:
        Lan et al., Sparse Autoencoders Reveal Universal Feature Spaces Across Large Language Models, 2024.
        arXiv:2410.06981
    """
    if a.shape[0] != b.shape[0]:
        raise refuse(
            "runs",
            f"{a.shape[0]} and {b.shape[0]} tokens",
            "codes of the same tokens",
            "Harvest both models with one tokenizer, text and contexts.",
        )
    counts = [torch.from_numpy(z.getnnz(axis=0)) for z in (a, b)]
    kept = [(count >= LEAST).nonzero().flatten() for count in counts]
    dropped = [{"dead": int((c == 0).sum()), "rare": int(((c > 0) & (c < LEAST)).sum())} for c in counts]
    if not all(map(len, kept)):
        none = torch.empty(0, 2, dtype=torch.long)
        return Correlated(
            none,
            torch.empty(0),
            (0.0, 0.0),
            (dropped[0], dropped[1]),
            (len(kept[0]), len(kept[1])),
            torch.zeros(1),
        )
    r = _pearson(a[:, kept[0].numpy()], b[:, kept[1].numpy()])
    (top_a, to_b), (top_b, to_a) = r.max(1), r.max(0)
    mutual = to_a[to_b] == torch.arange(len(to_b))
    good = mutual & (top_a >= low)
    for side, own in ((0, mutual), (1, to_b[to_a] == torch.arange(len(to_a)))):
        dropped[side] |= {"many": int((~own).sum()), "low": int((mutual & ~good).sum())}
    pairs = torch.stack([kept[0][good], kept[1][to_b[good]]], 1)
    best = float(top_a.mean()), float(top_b.mean())
    sizes = len(kept[0]), len(kept[1])
    return Correlated(pairs, top_a[good], best, (dropped[0], dropped[1]), sizes, top_a)


def _pearson(a: Any, b: Any) -> Tensor:
    """The correlation of each column of a with each of b, (N, N')."""
    rows = a.shape[0]
    mean_a, mean_b = (_mean(z) for z in (a, b))
    sd_a, sd_b = (
        (_mean(z.multiply(z)) - mean.square()).clamp_min(0).sqrt() for z, mean in ((a, mean_a), (b, mean_b))
    )
    cross = torch.from_numpy((a.T @ b).toarray()) / rows - torch.outer(mean_a, mean_b)
    return (cross / torch.outer(sd_a, sd_b).clamp_min(1e-30)).clamp(-1, 1)


def _mean(z: Any) -> Tensor:
    """The mean of each column of a sparse matrix."""
    return torch.from_numpy(np.asarray(z.mean(axis=0)).ravel())


def svcca(x: Tensor, y: Tensor) -> Tensor:
    r"""The mean canonical correlation of matched rows after reduction to their main directions (SVCCA).

    Both sets of rows are centred and reduced to the directions with 99 % of their variance; the mean is over the
    canonical correlations :math:`\rho_k`, the singular values of :math:`Q_x^\top Q_y`.

    It misleads for few rows: with fewer rows than directions it is 1 for any pairing. Compare `permuted`.

    Args:
        x: rows of one dictionary, (P, D).
        y: the matched rows of another, (P, D').

    Example:
        >>> x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
        >>> float(svcca(x, x @ torch.tensor([[1.0, 2, 0], [0, 1, 3], [1, 0, 1]]))) > 0.999
        True

    Reference:
        Raghu et al., SVCCA, 2017. arXiv:1706.05806
    """
    return torch.linalg.svdvals(_basis(x).T @ _basis(y)).clamp(max=1).mean()


def _basis(x: Tensor) -> Tensor:
    """An orthonormal basis of the main directions of centred rows, (P, k)."""
    u, s, _ = torch.linalg.svd(x.double() - x.double().mean(0), full_matrices=False)
    share = s.square().cumsum(0) / s.square().sum().clamp_min(1e-30)
    return u[:, : int((share < _VARIANCE).sum()) + 1]


def rsa(x: Tensor, y: Tensor) -> Tensor:
    r"""The rank correlation of the distances between rows in two spaces (representational similarity analysis).

    .. math:: \mathrm{Spearman}\left(\|x_i - x_j\|, \|y_i - y_j\|\right)_{i < j}

    It misleads where few pairs of rows are close: then it is about noise in distances that are all alike.

    Args:
        x: rows of one dictionary, (P, D).
        y: the matched rows of another, (P, D').

    Example:
        >>> x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
        >>> round(float(rsa(x, -2 * x)), 6)
        1.0
    """
    return (_ranks(x) * _ranks(y)).sum()


def _ranks(x: Tensor) -> Tensor:
    """The ranks of the distances between rows, centred, with sum of squares 1, (P, P), the diagonal 0."""
    stats = optional("scipy.stats", "report", "compare distances")
    unit = x.double()
    distance = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")
    i, j = torch.triu_indices(len(x), len(x), 1)
    rank = torch.from_numpy(stats.rankdata(distance[i, j].numpy())).double()
    rank = rank - rank.mean()
    found = torch.zeros_like(distance)
    found[i, j] = rank / rank.square().sum().sqrt().clamp_min(1e-30)
    return (found + found.T) / 2**0.5


@dataclass(frozen=True)
class Permuted:
    """A figure of matched rows, and of as many permuted pairings.

    Args:
        value: of the pairing.
        chance: the mean over permuted pairings.
        limit: their 99th percentile.
        p: the share of pairings, this one included, that are at least as large.
    """

    value: float
    chance: float
    limit: float
    p: float


def permuted(x: Tensor, y: Tensor, permutations: int = 1000, seed: int = 0) -> dict[str, Permuted]:
    """SVCCA and RSA of matched rows, and of the same rows in permuted pairings.

    Args:
        x: rows of one dictionary, (P, D).
        y: the matched rows of another, (P, D').
        permutations: number of permuted pairings.
        seed: of the permutations, and of the rows (at most 400) whose distances are compared.

    Returns:
        ``svcca`` and ``rsa``.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(x), generator=generator)[:_RSA_ROWS]
    base_x, base_y = _basis(x), _basis(y)
    rank_x, rank_y = _ranks(x[chosen]), _ranks(y[chosen])
    first = (svcca(x, y), rsa(x[chosen], y[chosen]))
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for _ in range(permutations):
        order = torch.randperm(len(x), generator=generator)
        found[0].append(torch.linalg.svdvals(base_x[order].T @ base_y).clamp(max=1).mean())
        some = torch.randperm(len(chosen), generator=generator)
        found[1].append((rank_x[some][:, some] * rank_y).sum())
    result = {}
    for name, value, drawn in zip(("svcca", "rsa"), first, found, strict=True):
        values = torch.stack(drawn)
        p = (1 + int((values >= value).sum())) / (1 + len(values))
        result[name] = Permuted(float(value), float(values.mean()), float(values.quantile(0.99)), p)
    return result
