"""Agreement of two dictionaries: partners by encoder and decoder rows, and what random rows would give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.audit.metrics.matching import Match, cosines
from narrows.audit.metrics.spread import mean_and_sd
from narrows.core.check import refuse

__all__ = ["SHARED", "Agreement", "Chance", "Rows", "agreement", "chance", "comparable", "fold", "folded"]

SHARED = 0.7
"""The mean cosine of encoder and decoder rows above which two latents with the same partner are shared."""


@dataclass(frozen=True)
class Rows:
    """The weights of a dictionary, a row for each latent.

    Args:
        decoder: the atoms, (N, D).
        encoder: the rows of the encoder, (N, D'); None if it is not linear.
        bias: the bias of the pre-activations, (N,).
        threshold: the pre-activation above which a latent is on, (N,); None if latents compete (TopK).
    """

    decoder: Tensor
    encoder: Tensor | None = None
    bias: Tensor | None = None
    threshold: Tensor | None = None

    def __len__(self) -> int:
        return len(self.decoder)


def fold(rows: Rows) -> Rows:
    r"""The same dictionary in units of its own: every threshold is 1, or every atom has norm 1.

    The function of a dictionary does not change if a latent is multiplied by s and its atom divided by s,

    .. math:: w_j \to s_j w_j, \quad b_j \to s_j b_j, \quad \theta_j \to s_j \theta_j, \quad d_j \to d_j / s_j.

    :math:`s_j = 1 / \theta_j` where the threshold is positive, as in SAE-Match, else :math:`s_j = \|d_j\|`. So two
    dictionaries that differ by such factors only are equal after folding. Among latents that compete (TopK) such
    factors change which are on: there folding is for the comparison of weights only.

    Args:
        rows: the dictionary.

    Example:
        >>> rows = Rows(torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]]), torch.zeros(1))
        >>> fold(rows).decoder.tolist(), fold(rows).encoder.tolist()
        ([[0.6000000238418579, 0.800000011920929]], [[5.0, 0.0]])

    Reference:
        Balagansky et al., Mechanistic Permutability: Match Features Across Layers, 2024. arXiv:2410.07656
    """
    norm = torch.linalg.vector_norm(rows.decoder, dim=1)
    factor = torch.where(norm > 0, norm, torch.ones_like(norm))
    if rows.threshold is not None:
        factor = torch.where(rows.threshold > 0, 1 / rows.threshold.clamp_min(1e-30), factor)
    column = factor.unsqueeze(1)
    return replace(
        rows,
        decoder=rows.decoder / column,
        encoder=None if rows.encoder is None else rows.encoder * column,
        bias=None if rows.bias is None else rows.bias * factor,
        threshold=None if rows.threshold is None else rows.threshold * factor,
    )


class Folded(NamedTuple):
    """The matching of folded rows.

    Args:
        match: the pairs.
        distance: of each pair, the squared distance as a fraction of the squared norms of its rows, (P,): 0 for equal
            rows, about 1 for orthogonal ones.
        chance: the mean distance of as many pairs drawn at random.
    """

    match: Match
    distance: Tensor
    chance: float


def folded(a: Rows, b: Rows, fold_scales: bool = True) -> Folded:
    r"""The matching of least squared distance between folded encoder and decoder rows (SAE-Match).

    .. math:: \min_\pi \sum_i \|d^a_i - d^b_{\pi(i)}\|^2 + \|w^a_i - w^b_{\pi(i)}\|^2

    Each kind of row is in units of its root mean square norm in both dictionaries, so that neither outweighs the other.
    It sees scales, which cosines do not; it misleads where scales differ although the directions agree.

    Args:
        a: a dictionary.
        b: another, with rows of the same widths.
        fold_scales: fold both first, see `fold`.
    """
    comparable(a, b)
    if fold_scales:
        a, b = fold(a), fold(b)
    kinds = [(a.decoder, b.decoder)]
    if a.encoder is not None and b.encoder is not None:
        kinds.append((a.encoder, b.encoder))
    x = torch.cat([_unit(pair[0], pair) for pair in kinds], 1)
    y = torch.cat([_unit(pair[1], pair) for pair in kinds], 1)
    squares = x.square().sum(1, keepdim=True) + y.square().sum(1)
    distance = (squares - 2 * x @ y.T).clamp_min(0)
    found = Match(-distance)
    i, j = found.true, found.learned
    other = j[torch.randperm(len(j))]
    # not from the product, which cancels where rows are equal
    distance, random = ((x[i] - y[to]).square().sum(1) / squares[i, to].clamp_min(1e-30) for to in (j, other))
    return Folded(found, distance, float(random.mean()))


def _unit(rows: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
    """Rows in units of the root mean square norm of two dictionaries."""
    size = torch.cat([one.double().square().sum(1) for one in pair]).mean().sqrt()
    return rows.double() / size.clamp_min(1e-30)


@dataclass(frozen=True)
class Agreement:
    r"""How far two dictionaries of N and N' latents agree; P = min(N, N').

    Args:
        pairs: the latents of the one-to-one matching with the largest sum of signed cosines of decoder rows, (P, 2).
        decoder: the cosine of the decoder rows of each pair, (P,).
        encoder: that of their encoder rows, (P,); None without encoder rows.
        same: whether the matching of the encoder rows, found separately, has the same pair, (P,).
        encoder_mean: the mean cosine of the matching of the encoder rows; None without them.
        mmcs: the mean over latents of one dictionary of the largest cosine of its decoder row with any of the other,
            for both directions; several latents may share a partner.
    """

    pairs: Tensor
    decoder: Tensor
    encoder: Tensor | None
    same: Tensor
    encoder_mean: float | None
    mmcs: tuple[float, float]

    @property
    def cosine(self) -> Tensor:
        """The mean cosine of encoder and decoder rows of each pair, (P,)."""
        return self.decoder if self.encoder is None else (self.decoder + self.encoder) / 2

    @property
    def shared(self) -> Tensor:
        """The pairs that are the same latent: the same partner by both matchings, and a mean cosine above .7, (P,)."""
        return self.same & (self.cosine > SHARED)

    @property
    def figures(self) -> dict[str, float]:
        """The figures by name: ``shared``, ``decoder``, ``encoder``, ``mmcs`` and ``mmcs-back``."""
        found = {"shared": float(self.shared.double().mean()), "decoder": float(self.decoder.mean())}
        if self.encoder_mean is not None:
            found["encoder"] = self.encoder_mean
        return found | {"mmcs": self.mmcs[0], "mmcs-back": self.mmcs[1]}


def agreement(a: Rows, b: Rows, signed: bool = True) -> Agreement:
    r"""Match two dictionaries by their encoder and decoder rows.

    .. math:: \max_\pi \sum_i \cos(d^a_i, d^b_{\pi(i)}), \qquad
              \mathrm{MMCS}(a, b) = \frac{1}{N} \sum_i \max_j \cos(d^a_i, d^b_j)

    Cosines are signed, since latents that are never negative cannot use the negative of an atom. The cost is two
    assignment problems of N x N' (N = 3,000: seconds; N = 16,000: minutes, 2 GB each).

    It misleads at face value: random rows have cosines far above 0 (`chance`), the more so in few dimensions. Dead
    latents keep the direction they had when they died and lower all figures.

    Args:
        a: a dictionary.
        b: another one.
        signed: keep the sign of cosines; False for latents that may be negative.

    Raises:
        RequestError: the rows have different widths.
        WorkError: SciPy is not installed.

    Example:
        >>> a = Rows(torch.eye(3), torch.eye(3))
        >>> b = Rows(torch.eye(3)[[2, 0, 1]] * 5, torch.eye(3)[[2, 0, 1]])
        >>> agreement(a, b).pairs.tolist(), agreement(a, b).figures["shared"]
        ([[0, 1], [1, 2], [2, 0]], 1.0)

    Reference:
        Paulo and Belrose, Sparse Autoencoders Trained on the Same Data Learn Different Features, 2025.
        arXiv:2501.16615
    """
    comparable(a, b)
    cosine = cosines(a.decoder, b.decoder, signed)
    found = Match(cosine)
    i, j = found.true, found.learned
    same, encoder, mean = torch.ones(len(i), dtype=torch.bool), None, None
    if a.encoder is not None and b.encoder is not None:
        other = cosines(a.encoder, b.encoder, signed)
        own = Match(other)
        partner = torch.full((len(a),), -1)
        partner[own.true] = own.learned
        same, encoder = partner[i] == j, other[i, j]
        mean = float(other[own.true, own.learned].mean())
    mmcs = float(cosine.amax(1).mean()), float(cosine.amax(0).mean())
    return Agreement(torch.stack([i, j], 1), cosine[i, j], encoder, same, mean, mmcs)


def comparable(a: Rows, b: Rows) -> None:
    """Check that the rows of two dictionaries have the same widths.

    Raises:
        RequestError: they do not.
    """
    for kind in ("decoder", "encoder"):
        one, two = getattr(a, kind), getattr(b, kind)
        if one is not None and two is not None and one.shape[1] != two.shape[1]:
            raise refuse(
                "runs",
                f"{kind} rows of {one.shape[1]} and of {two.shape[1]} numbers",
                "dictionaries of one space",
                "Dictionaries of different models are compared by their latents on the same tokens: "
                "narrows match A B --on DATA-OF-A --on DATA-OF-B.",
            )


@dataclass(frozen=True)
class Chance:
    """A figure of random dictionaries: mean and standard deviation over several draws."""

    mean: float
    sd: float


def chance(a: Rows, b: Rows, draws: int = 3, seed: int = 0, signed: bool = True) -> dict[str, Chance]:
    r"""The figures of `agreement` for two random dictionaries of the same shapes.

    Rows are uniform on the unit sphere of D dimensions, encoder rows equal to decoder rows, as at the usual start. For
    D = 64 and N = 256, 1024 the matching has a mean cosine of .327, .377 and the MMCS is .347, .392. The cost is an
    assignment problem a draw.

    Args:
        a: a dictionary, of which only the shape is used.
        b: another.
        draws: number of pairs of random dictionaries, at least 2.
        seed: of the draws.
        signed: as for `agreement`.

    Returns:
        Mean and standard deviation of each figure, by name.
    """
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[float]] = {}
    for _ in range(draws):
        random = [
            F.normalize(torch.randn(len(one), one.decoder.shape[1], generator=generator), dim=1)
            for one in (a, b)
        ]
        figures = agreement(Rows(random[0]), Rows(random[1]), signed).figures
        for name, value in {**figures, "encoder": figures["decoder"]}.items():
            found.setdefault(name, []).append(value)
    return {
        name: Chance(mean, sd or 0.0) for name, values in found.items() for mean, sd in [mean_and_sd(values)]
    }
