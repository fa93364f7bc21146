"""Speculative decoding: a small prior proposes indices, and a large one accepts several in one pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from narrows.core import Prior
from narrows.core.check import number, refuse, whole
from narrows.priors.samplers.ancestral import draw

__all__ = ["Draft", "Drawn", "Logits", "checked", "neighbours", "relaxed", "speculative"]

Logits: TypeAlias = Callable[[Tensor], Tensor]
"""Logits (n, L, K) of each index given the previous ones, from indices (n, L)."""

_MOST = 2**14
"""Number of codes whose distances from each other are computed, 2 GiB."""


@dataclass(frozen=True)
class Draft:
    """A prior that proposes indices, and which codes are near each other.

    Args:
        prior: a causal prior over the same indices.
        neighbours: the other codes of each code, nearest first, (K, K - 1); of stacks at each depth, (D, K, K - 1).
    """

    prior: Prior
    neighbours: Tensor


class Drawn(NamedTuple):
    """Indices, and what they took."""

    indices: Tensor
    """(n, L)."""
    calls: Tensor
    """Passes of the target for each row, (n,)."""


def neighbours(vectors: Tensor) -> Tensor:
    """The other codes of each code by Euclidean distance, nearest first: (*, K, d) -> (*, K, K - 1).

    Raises:
        RequestError: there are more than 16,384 codes.

    Example:
        >>> neighbours(torch.tensor([[0.0], [1.0], [5.0]]))
        tensor([[1, 2],
                [0, 2],
                [1, 0]])
    """
    if vectors.shape[-2] > _MOST:
        expected = f"left out for codebooks of more than {_MOST:,} codes"
        raise refuse("draft", f"one over {vectors.shape[-2]:,} codes", expected, "Use --sampler cached.")
    away = torch.cdist(vectors.double(), vectors.double())
    away.diagonal(dim1=-2, dim2=-1).fill_(-1)
    return away.sort(dim=-1, stable=True).indices[..., 1:]


def relaxed(p: Tensor, x: Tensor, order: Tensor, delta: float) -> Tensor:
    r"""Probabilities with the mass of x's nearest codes moved onto x.

    .. math:: p'(x) = p(x) + \sum_{k \in A(x)} p(k),\qquad p'(k) = 0 \text{ for } k \in A(x)

    A(x) is the longest run of x's neighbours, nearest first, whose summed probability is at most delta.

    Args:
        p: probabilities (n, K).
        x: the proposed codes (n,).
        order: the other codes, nearest to x first (n, K - 1).
        delta: the largest mass that is moved; with 0 probabilities stay as they are.

    Example:
        >>> near, x = neighbours(torch.tensor([[0.0], [1.0], [5.0]])), torch.tensor([1])
        >>> relaxed(torch.tensor([[0.5, 0.3, 0.2]]), x, near[x], 0.5)
        tensor([[0.0000, 0.8000, 0.2000]])
    """
    if delta == 0:
        return p
    mass = p.gather(1, order)
    moved = mass * (mass.cumsum(1) <= delta)
    return p.scatter_add(1, order, -moved).clamp_min(0).scatter_add(1, x[:, None], moved.sum(1, keepdim=True))


@torch.no_grad()
def speculative(
    target: Logits,
    draft: Logits,
    near: Tensor,
    n: int,
    tokens: int,
    *,
    delta: float = 0.0,
    proposals: int = 4,
    device: torch.device | str = "cpu",
) -> Drawn:
    r"""Draw rows of indices from a target, whose passes each judge several proposals of a draft.

    .. math:: \Pr[\mathrm{accept}\; x] = \min\Big(1, \frac{p'(x)}{q(x)}\Big),\qquad
              \text{else draw from}\quad \frac{(p' - q)_+}{\sum_k (p'_k - q_k)_+}

    p and q are the probabilities of target and draft, and p' is `relaxed`. With delta = 0 the rows are exactly
    distributed as those of the target. A larger delta accepts a code because others that decode to almost the same
    are likely. If all proposals are accepted, the pass draws one more index.

    Args:
        target: logits of the target.
        draft: logits of the draft.
        near: `neighbours` of the codes; of stacks at each depth.
        n: how many rows.
        tokens: number of indices of a row, L; of stacks those of all depths.
        delta: the largest mass of neighbours that counts for a code, from 0 to 1.
        proposals: indices that the draft proposes for each pass of the target.
        device: where to draw.

    Raises:
        RequestError: delta is not between 0 and 1, or there are no proposals.

    Reference:
        Jang et al., LANTERN: Accelerating Visual Autoregressive Models with Relaxed Speculative Decoding, 2024.
        arXiv:2410.03355; exact: Leviathan, Kalman, Matias, Fast Inference from Transformers via Speculative Decoding,
        2022. arXiv:2211.17192
    """
    number("delta", delta, low=0, high=1)
    count = whole("proposals", proposals)
    near = near.view(-1, *near.shape[-2:])
    rows = torch.arange(n, device=device)
    indices = torch.zeros(n, tokens, dtype=torch.long, device=device)
    done, calls = (
        torch.zeros(n, dtype=torch.long, device=device),
        torch.zeros(n, dtype=torch.long, device=device),
    )
    while bool((done < tokens).any()):
        open_rows = done < tokens
        calls += open_rows
        start, proposed = done.clone(), []
        for step in range(count):
            place = (start + step).clamp_max(tokens - 1)
            logits = draft(indices)[rows, place]
            inside = start + step < tokens
            indices[rows, place] = torch.where(inside, draw(logits), indices[rows, place])
            proposed.append(logits.softmax(-1))
        p = target(indices).softmax(-1)
        going = open_rows.clone()
        for step in range(count + 1):
            place = (start + step).clamp_max(tokens - 1)
            going &= start + step < tokens
            truth, x = p[rows, place], indices[rows, place]
            if step == count:  # all were accepted: one more index
                new = torch.multinomial(truth, 1)[:, 0]
                accepted = torch.zeros_like(going)
            else:
                q, wide = proposed[step], relaxed(truth, x, near[place % len(near), x], delta)
                ratio = wide.gather(1, x[:, None])[:, 0] / q.gather(1, x[:, None])[:, 0]
                accepted = going & (torch.rand(n, device=device) < ratio)
                rest = (wide - q).clamp_min(0)
                none = rest.sum(1, keepdim=True) <= 0  # then p' = q, and every proposal is accepted
                new = torch.multinomial(torch.where(none, wide, rest), 1)[:, 0]
            indices[rows, place] = torch.where(going & ~accepted, new, x)
            done += going
            going = accepted
    return Drawn(indices, calls)


def checked(draft: object) -> Draft:
    """The draft of a sampler.

    Raises:
        RequestError: there is none.
    """
    if isinstance(draft, Draft):
        return draft
    fix = "On the command line: --sampler lantern --draft RUN2, of a smaller prior on the same tokenizer."
    raise refuse("draft", draft or None, "the run of a smaller prior over the same codes", fix)
