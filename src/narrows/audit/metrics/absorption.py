"""Feature absorption: latents that stand for a concept and for more, so that the concept's own latent stays off.

Concepts are binary labels of examples. A linear probe finds the direction of a concept, logistic regression on the
codes finds its main latents, and examples are counted in which other latents hold that direction in their place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "Absorbed",
    "Concept",
    "absorbed",
    "absorption",
    "causally_absorbed",
    "linear_probes",
    "main_latents",
    "rank_latents",
    "would_split",
]

OFF, FULL_COSINE, COSINE, SHARE, HOLDERS = 1e-8, 0.025, 0.1, 0.4, 3
"""Below which a main latent is off; least cosine with the direction of a latent that absorbs fully and in part; least
share of the direction that it must hold; number of latents that may hold it together."""

GAIN, MOST = 0.03, 10
"""By how much F1 must grow for another main latent, and the largest number of them."""

_PURE, _COVERS = 0.9, 0.06
"""A latent with this precision and recall for a concept would raise F1 by more than `GAIN`, roughly."""

_ROUNDING = 1e-5
"""Activations below this share of the largest are rounding errors, which a code of fixed L0 may have."""

_L1, _EPOCHS, _LR, _LAST, _BATCH = 0.01, 50, 1e-2, 1e-5, 256


@dataclass(frozen=True)
class Absorbed:
    """The absorption of one concept in each of its examples.

    Args:
        full: whether one other latent holds the direction and all main latents are off, (B,) bool.
        fraction: the share of the direction that up to three other latents hold, (B,) from 0 to 1.
        holder: the latent with the largest projection on the direction, (B,).
    """

    full: Tensor
    fraction: Tensor
    holder: Tensor


@dataclass(frozen=True, eq=False)
class Concept:
    """The absorption of one concept.

    Args:
        f1: of the linear probe of the inputs, on held-out examples; NaN if the direction was given.
        direction: of the probe, or as given, (D,).
        main: the latents of the concept; their number is the split count.
        rows: its held-out examples that the probe recognises, to which the shares refer, (R,).
        full: the share of them that are fully absorbed.
        fraction: the mean absorbed fraction.
        suspects: latents that fire only with the concept and in many of its examples. Whether they are parts of it
            or absorb it cannot be told; counted as splits, they hide absorption.
    """

    f1: float
    direction: Tensor
    main: tuple[int, ...]
    rows: Tensor
    full: float
    fraction: float
    suspects: int


def absorbed(x: Tensor, codes: Tensor, atoms: Tensor, direction: Tensor, main: Tensor) -> Absorbed:
    r"""Absorption of a concept in examples of it.

    With :math:`a = x \cdot p` of the unit direction p, :math:`c_j = \cos(p, d_j)` and the projections
    :math:`q_j = f_j \, d_j \cdot p`, an example is *fully* absorbed if all main latents are off and the latent with
    the largest :math:`q_j` has :math:`c_j \ge 0.025` and :math:`q_j \ge 0.4 a`. Its *fraction*, with m the sum of the
    main latents' projections and A the sum of the three largest others with :math:`c_j \ge 0.1`, is 0 if
    :math:`A < 0.4 a` or :math:`m \ge a`, 1 if :math:`m \le 0`, and else :math:`r / (r + m)` with
    :math:`r = \min(A, a - m)`.

    Args:
        x: inputs, (B, D), all with the concept.
        codes: their codes, (B, N).
        atoms: rows of the decoder, (N, D).
        direction: of the concept, (D,).
        main: the concept's latents, (K,).

    Example:
        >>> atoms = torch.tensor([[1.0, 0.0], [0.7, 0.7]])
        >>> x, codes = torch.ones(2, 2), torch.tensor([[1.0, 0.0], [0.0, 1.4]])
        >>> found = absorbed(x, codes, atoms, atoms[0], torch.tensor([0]))
        >>> found.full.tolist(), found.fraction.tolist()
        ([False, True], [0.0, 1.0])

    Reference:
        Chanin et al., A is for Absorption, 2024. arXiv:2409.14507; Karvonen et al., SAEBench, 2025. arXiv:2503.09532
    """
    p = F.normalize(direction.to(x), dim=0)
    a, along = x @ p, atoms.to(x) @ p
    cosine = along / atoms.to(x).norm(dim=1).clamp_min(1e-12)
    q = codes.to(x) * along
    largest, holder = q.max(1)
    off = (codes[:, main].abs() < OFF).all(1)
    full = off & (a > 0) & (cosine[holder] >= FULL_COSINE) & (largest >= SHARE * a)
    others = (cosine >= COSINE).index_fill(0, main, False).nonzero().squeeze(1)
    held = q[:, others].clamp_min(0).topk(min(HOLDERS, len(others)), dim=1).values.sum(1)
    own = q[:, main].sum(1)
    rest = torch.minimum(held, a - own)
    part = torch.where(own <= 0, 1.0, (rest / (rest + own).clamp_min(1e-30)).clamp(0, 1))
    return Absorbed(full, torch.where((held < SHARE * a) | (own >= a) | (a <= 0), 0.0, part), holder)


def causally_absorbed(effects: Tensor, cosine: Tensor, off: Tensor, margin: float = 1.0) -> Tensor:
    r"""Full absorption by effects on the answer, the variant of the paper, (B,) bool.

    All main latents are off, the latent with the largest effect on the correct answer's logit (less the mean of the
    others) has :math:`c_j \ge 0.025`, and its effect exceeds the second largest by `margin`.

    Args:
        effects: of each latent, (B, N), in logits: by integrated gradients, or by ablation.
        cosine: of each latent's atom with the concept's direction, (N,).
        off: whether all main latents are off, (B,) bool.
        margin: in logits.

    Example:
        >>> causally_absorbed(torch.tensor([[0.1, 2.0], [1.5, 2.0]]), torch.ones(2), torch.ones(2).bool())
        tensor([ True, False])
    """
    top = effects.topk(2, dim=1)
    clear = top.values[:, 0] - top.values[:, 1] >= margin
    return off & clear & (cosine[top.indices[:, 0]] >= FULL_COSINE)


def linear_probes(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Logistic regression of every concept at once, with balanced classes: weights (C, D) and biases (C,).

    The ridge penalty is 1 / B, in units of the root mean square of the centred x, so that units do not matter.

    Args:
        x: inputs, (B, D).
        y: whether each example has each concept, (B, C) bool; both occur for each.
    """
    middle = x.double().mean(0)
    centred = x.double() - middle
    unit = centred.square().mean().sqrt().clamp_min(1e-12)
    centred, aim = centred / unit, y.double()
    weights = torch.zeros(y.shape[1], x.shape[1] + 1, dtype=torch.double, requires_grad=True)
    positive = (1 - aim).sum(0) / aim.sum(0)
    solver = torch.optim.LBFGS(
        [weights], max_iter=100, tolerance_grad=1e-6, history_size=20, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        scores = centred @ weights[:, :-1].T + weights[:, -1]
        errors = F.binary_cross_entropy_with_logits(scores, aim, pos_weight=positive, reduction="sum")
        total = (errors + weights[:, :-1].square().sum() / 2) / len(x)
        total.backward()
        return total

    with torch.enable_grad():
        solver.step(loss)
    found = weights.detach()
    slope = found[:, :-1] / unit
    return slope.to(x), (found[:, -1] - slope @ middle).to(x)


def rank_latents(codes: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
    """Latents by their signed weight in an L1 logistic regression of each concept, the largest first, (C, 10 or N).

    Penalty 0.01, Adam over 50 epochs with a learning rate from 0.01 to 1e-5, balanced classes; codes are divided by
    the mean of what is not zero.

    Args:
        codes: (B, N).
        y: whether each example has each concept, (B, C) bool.
        generator: of the order of examples.
    """
    scale = codes.abs().sum() / (codes != 0).sum().clamp_min(1)
    z, aim = codes / scale.clamp_min(1e-12), y.to(codes)
    positive = (1 - aim).sum(0) / aim.sum(0)
    weight = torch.zeros(y.shape[1], codes.shape[1], requires_grad=True)
    bias = torch.zeros(y.shape[1], requires_grad=True)
    solver = torch.optim.Adam([weight, bias], lr=_LR)
    for epoch in range(_EPOCHS):
        for group in solver.param_groups:
            group["lr"] = _LR * (_LAST / _LR) ** (epoch / (_EPOCHS - 1))
        for some in torch.randperm(len(z), generator=generator).split(_BATCH):
            with torch.enable_grad():
                scores = z[some] @ weight.T + bias
                errors = F.binary_cross_entropy_with_logits(
                    scores, aim[some], pos_weight=positive, reduction="none"
                )
                total = errors.mean(0).sum() + _L1 * weight.abs().sum()
            solver.zero_grad()
            total.backward()
            solver.step()
    return weight.detach().topk(min(MOST, codes.shape[1]), dim=1).indices


def main_latents(train: Tensor, y: Tensor, test: Tensor, truth: Tensor, ranked: Tensor) -> Tensor:
    """The latents of a concept: the first of the ranked ones, more of them while F1 grows by over 0.03 each, (K,).

    Args:
        train: codes, (B, N).
        y: whether each has the concept, (B,) bool.
        test: other codes, (B, N).
        truth: whether each of those has it, (B,) bool.
        ranked: latents, the best first.
    """
    best, count = -math.inf, 0
    for k in range(1, len(ranked) + 1):
        chosen = ranked[:k]
        weights, bias = linear_probes(train[:, chosen], y[:, None])
        score = f1_of(truth, (test[:, chosen] @ weights[0] + bias[0]) > 0)
        if score <= best + GAIN:
            break
        best, count = score, k
    return ranked[:count]


def f1_of(truth: Tensor, guess: Tensor) -> float:
    """F1 of one guess."""
    either = int(truth.sum()) + int(guess.sum())
    return 2 * int((truth & guess).sum()) / either if either else 0.0


def would_split(codes: Tensor, y: Tensor, main: Tensor) -> int:
    """How many latents beside the first main one fire only with a concept, and in many of its examples.

    Args:
        codes: (B, N).
        y: whether each example has the concept, (B,) bool.
        main: the latents of the concept, the first one first.
    """
    on = (codes.abs() > _ROUNDING * codes.abs().max()).float()
    both, fires = y.float() @ on, on.sum(0)
    alike = (both >= _PURE * fires) & (both >= _COVERS * y.sum()) & (fires > 0)
    alike[main[:1]] = False
    return int(alike.sum())


def absorption(
    x: Tensor,
    codes: Tensor,
    atoms: Tensor,
    labels: Tensor,
    train: Tensor,
    *,
    directions: Tensor | None = None,
    mains: Sequence[Tensor] | None = None,
    seed: int = 0,
) -> list[Concept]:
    """The absorption of concepts, each measured in held-out examples that its probe recognises.

    Args:
        x: inputs, (B, D).
        codes: their codes, (B, N).
        atoms: rows of the decoder, (N, D).
        labels: whether each example has each concept, (B, C) bool.
        train: whether probes are fitted on an example, (B,) bool; the others are measured.
        directions: of the concepts, (C, D), if they are known; else those of linear probes.
        mains: the main latents of each concept, if they are known; else those that predict it.
        seed: of the order in which the latents' regression sees examples.

    Returns:
        One entry a concept.
    """
    y, truth, rest = labels[train], labels[~train], (~train).nonzero().squeeze(1)
    concepts = range(labels.shape[1])
    f1s, biases = [math.nan for _ in concepts], torch.zeros(labels.shape[1])
    if unknown := directions is None:
        directions, biases = linear_probes(x[train], y)
    scores = x[rest] @ directions.T + biases
    if unknown:
        f1s = [f1_of(truth[:, c], scores[:, c] > 0) for c in concepts]
    if mains is None:
        ranked = rank_latents(codes[train], y, torch.Generator().manual_seed(seed))
        mains = [main_latents(codes[train], y[:, c], codes[rest], truth[:, c], ranked[c]) for c in concepts]
    found = []
    for c, main in enumerate(mains):
        rows = rest[truth[:, c] & (scores[:, c] > 0)]
        held = absorbed(x[rows], codes[rows], atoms, directions[c], main)
        full, fraction = (
            float(part.double().mean()) if len(rows) else math.nan for part in (held.full, held.fraction)
        )
        suspects = would_split(codes, labels[:, c], main)
        found.append(Concept(f1s[c], directions[c], tuple(main.tolist()), rows, full, fraction, suspects))
    return found
