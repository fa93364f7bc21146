"""Selections over a whole batch of pre-activations that are not computed yet, with gradients for the chosen alone.

`LazyLinear.top` keeps the k largest of each row. Here the rule is another: the largest of the batch, all above a
threshold, a budget for each latent, the largest in size. All of them work alike. What is chosen is found without
gradients, a chunk of rows (or of latents) at a time, so that the dense pre-activations never exist whole; `attach`
then gives the chosen values their gradient, which touches their rows and latents only.

Rows keep different numbers of latents, so codes are padded: (B, most) with value 0 where a row has fewer. Padding
names latents in turn, for a latent that stood for all of it would own one very long sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from narrows.core import Sparse
from narrows.kernels.sparse import LazyLinear, Path, _choose, _chunks, _Top, select

__all__ = ["above", "attach", "batch_top", "column_top", "dense_rows", "largest", "norm_top", "padded"]

_NEAR = 0.75
"""Candidates are what exceeds this share of the expected threshold; too few of them, and the bar is lowered."""


class _Attached(_Top):
    """Pre-activations that are known already; backward is that of the k largest, for it needs the indices only."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, shift: Tensor | None, found: Sparse, path: Path
    ) -> tuple[Tensor, Tensor]:
        centred = x if shift is None else x - shift
        ctx.save_for_backward(centred, weight, found.indices)
        ctx.path = path
        ctx.mark_non_differentiable(found.indices)
        return found.values.to(x.dtype), found.indices


def attach(pre: Tensor | LazyLinear, found: Sparse, path: Path = "auto") -> Sparse:
    """Give values that were found without gradients the gradient of the pre-activations they are.

    Args:
        pre: (B, N), a tensor or a `LazyLinear`.
        found: entries (B, k) whose values are those of `pre`, or 0 where a place is unused: such a place passes
            no gradient.
        path: how the gradients are summed.
    """
    if isinstance(pre, LazyLinear):
        values, _ = _Attached.apply(pre.x, pre.weight, pre.bias, pre.shift, found, _choose(path, pre.x))
    else:
        values = pre.gather(-1, found.indices)
    return Sparse(found.indices, torch.where(found.values != 0, values, 0), found.width)


@torch.no_grad()
def dense_rows(pre: Tensor | LazyLinear) -> Iterator[tuple[slice, Tensor]]:
    """The pre-activations, a bounded chunk of rows at a time, without gradients: (rows, (b, N))."""
    for rows in _chunks(len(pre), _width(pre)):
        if isinstance(pre, LazyLinear):
            yield rows, LazyLinear(pre.x[rows], pre.weight, pre.bias, pre.shift).dense().detach()
        else:
            yield rows, pre[rows].detach()


@torch.no_grad()
def padded(rows: Tensor, latents: Tensor, values: Tensor, shape: tuple[int, int]) -> Sparse:
    """Entries of a sparse matrix as a zero-padded code.

    Args:
        rows: row of each entry, ascending, (n,).
        latents: its column, (n,).
        values: its value, (n,).
        shape: rows B and columns N of the matrix.

    Example:
        >>> i = torch.tensor
        >>> padded(i([0, 1, 1]), i([2, 0, 3]), i([5.0, 6.0, 7.0]), (2, 4)).dense()
        tensor([[0., 0., 5., 0.],
                [6., 0., 0., 7.]])
    """
    size, width = shape
    counts = torch.bincount(rows, minlength=size)
    most = max(1, int(counts.max())) if len(rows) else 1
    place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    indices = torch.arange(size * most, device=rows.device).remainder_(width).view(size, most)
    out = values.new_zeros(size, most)
    indices[rows, place] = latents
    out[rows, place] = values
    return Sparse(indices, out, width)


def above(pre: Tensor | LazyLinear, threshold: Tensor) -> Sparse:
    """What exceeds a threshold (a number, or one for each latent) and 0.

    Example:
        >>> above(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor(1.5)).dense()
        tensor([[3., 0., 2.]])
    """
    return attach(pre, padded(*_entries(pre, threshold.detach().clamp_min(0)), (len(pre), _width(pre))))


def batch_top(pre: Tensor | LazyLinear, total: int, near: float = 0.0) -> Sparse:
    """The largest positive pre-activations of the whole batch, exactly; ties with the last pass together.

    A bar slightly below the threshold that is expected leaves few candidates, and the threshold is found among
    them: B N comparisons and a selection among some multiples of `total`, where sorting would take B N log(B N).
    If too few pass the bar it is lowered, so the result depends on the guess in nothing but time.

    Args:
        pre: (B, N), a tensor or a `LazyLinear`.
        total: how many to keep.
        near: about where the threshold will be; 0 where nothing is known.

    Example:
        >>> batch_top(torch.tensor([[3.0, 1.0], [2.0, -5.0]]), 2).dense()
        tensor([[3., 0.],
                [2., 0.]])
    """
    for bar in _bars(pre, total, near):
        rows, latents, values = _entries(pre, bar)
        if len(values) >= total:
            break
    if len(values) > total > 0:
        exact = values if values.dtype.itemsize >= 4 else values.float()  # half precision has no k-th value
        keep = exact >= exact.kthvalue(len(values) - total + 1).values
        rows, latents, values = rows[keep], latents[keep], values[keep]
    return attach(pre, padded(rows, latents, values, (len(pre), _width(pre))))


def _bars(pre: Tensor | LazyLinear, total: int, near: float) -> Iterator[float]:
    """Ever lower bars to try: below what was expected, below what some rows say, and halves of that down to 0.

    A bar of 0 has half of all pre-activations for candidates, which may not fit into memory: so it comes last.
    """
    if near > 0:
        yield _NEAR * near
    bar = _NEAR * _guess(pre, total)
    for _ in range(8):
        if bar > 0 and (near <= 0 or bar < _NEAR * near):
            yield bar
        bar /= 2
    yield 0.0


@torch.no_grad()
def _guess(pre: Tensor | LazyLinear, total: int) -> float:
    """The threshold of the first few rows: near that of the batch."""
    few = (
        pre[:64]
        if isinstance(pre, Tensor)
        else LazyLinear(pre.x[:64], pre.weight, pre.bias, pre.shift).dense()
    )
    share = min(few.numel(), max(1, round(total * len(few) / max(1, len(pre)))))
    return float(select(few.detach().reshape(1, -1), share)[0].min().clamp_min(0))


@torch.no_grad()
def _entries(pre: Tensor | LazyLinear, bar: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    """Row, latent and value of all that exceed a bar."""
    found = []
    for part, chunk in dense_rows(pre):
        rows, latents = (chunk > bar).nonzero(as_tuple=True)
        found.append((rows + part.start, latents, chunk[rows, latents]))
    rows, latents, values = (torch.cat(one) for one in zip(*found, strict=True))
    return rows, latents, values


@torch.no_grad()
def _by_column(pre: Tensor | LazyLinear) -> Iterator[tuple[slice, Tensor]]:
    """The pre-activations, some latents at a time: (latents, (B, n))."""
    for latents in _chunks(_width(pre), max(1, len(pre))):
        if isinstance(pre, LazyLinear):
            few = LazyLinear(pre.x, pre.weight[latents], pre.bias[latents], pre.shift)
            yield latents, few.dense().detach()
        else:
            yield latents, pre[:, latents].detach()


def column_top(pre: Tensor | LazyLinear, counts: Tensor) -> Sparse:
    """For each latent the examples of the batch on which it is largest, as many as its budget, where positive.

    Args:
        pre: (B, N), a tensor or a `LazyLinear`.
        counts: budgets, (N,) whole numbers from 0 to B.

    Example:
        >>> column_top(torch.tensor([[3.0, 1.0], [2.0, 5.0]]), torch.tensor([1, 2])).dense()
        tensor([[3., 1.],
                [0., 5.]])
    """
    found = []
    for part, chunk in _by_column(pre):
        budget = counts[part]
        best = chunk.topk(max(1, int(budget.max())), dim=0)
        place = torch.arange(len(best.values), device=chunk.device)[:, None]
        at = ((place < budget) & (best.values > 0)).nonzero(as_tuple=True)
        found.append((best.indices[at], at[1] + part.start, best.values[at]))
    rows, latents, values = (torch.cat(one) for one in zip(*found, strict=True))
    order = rows.argsort(stable=True)
    return attach(pre, padded(rows[order], latents[order], values[order], (len(pre), _width(pre))))


def largest(pre: Tensor | LazyLinear, k: int, score: Callable[[Tensor], Tensor] = torch.abs) -> Sparse:
    """The k of each row with the highest score, signed: of largest size.

    Example:
        >>> largest(torch.tensor([[3.0, -4.0, 2.0]]), 2).dense()
        tensor([[ 3., -4.,  0.]])
    """
    found = []
    for _, chunk in dense_rows(pre):
        _, indices = select(score(chunk), k)
        found.append((indices, chunk.gather(1, indices)))
    indices, values = (torch.cat(one) for one in zip(*found, strict=True))
    return attach(pre, Sparse(indices, values, _width(pre)))


def norm_top(pre: Tensor | LazyLinear, target: Tensor, lengths: Tensor | None = None) -> Sparse:
    """The largest positive pre-activations of each row, as many as bring their norm closest to a target.

    Args:
        pre: (B, N), a tensor or a `LazyLinear`.
        target: the norm wanted, (B,).
        lengths: of the atoms, (N,), by which pre-activations count; None for unit length.

    Example:
        >>> norm_top(torch.tensor([[4.0, 3.0, 2.0, 1.0]]), torch.tensor([4.9])).dense()
        tensor([[4., 3., 0., 0.]])
    """
    rows, latents, values = [], [], []
    for part, chunk in dense_rows(pre):
        weighed = chunk.relu() if lengths is None else chunk.relu() * lengths
        k, indices = _closest(weighed, target[part])
        at = (torch.arange(indices.shape[1], device=k.device) < k[:, None]) & (weighed.gather(1, indices) > 0)
        row, place = at.nonzero(as_tuple=True)
        rows.append(row + part.start)
        latents.append(indices[row, place])
        values.append(chunk[row, latents[-1]])
    found = padded(torch.cat(rows), torch.cat(latents), torch.cat(values), (len(pre), _width(pre)))
    return attach(pre, found)


def _closest(sizes: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """How many of the largest to take of each row, and their columns in order: as few are sorted as suffice."""
    most = min(32, sizes.shape[1])
    while True:
        best = sizes.topk(most, dim=1)
        norms = best.values.square().cumsum(1).sqrt()
        enough = (norms[:, -1] >= target) | (best.values[:, -1] == 0)
        if most == sizes.shape[1] or bool(enough.all()):
            return (norms - target[:, None]).abs().argmin(1) + 1, best.indices
        most = min(2 * most, sizes.shape[1])


def _width(pre: Tensor | LazyLinear) -> int:
    return pre.width if isinstance(pre, LazyLinear) else pre.shape[-1]
