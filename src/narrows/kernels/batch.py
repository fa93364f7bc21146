"""Sparse selections over a whole batch of pre-activations, with gradients of the selected entries only.

`LazyLinear.top` keeps the k largest of each row. The functions here use other rules: the largest of the
batch, all above a threshold, a budget for each latent, the largest in absolute value. Each selects without
gradients, a chunk of rows (or of latents) at a time, so that the dense pre-activations are never stored
whole; `attach` then adds the gradient of the selected values.

Rows keep different numbers of latents, so codes are padded to (B, most) with value 0. The indices of padding
cycle through all latents: with one index for all of it, the backward sum of that latent would be very long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from narrows.core import Sparse
from narrows.kernels.sparse import LazyLinear, Path, _choose, _chunks, _Top, select

__all__ = [
    "above",
    "attach",
    "batch_top",
    "column_top",
    "dense_rows",
    "exceeding",
    "largest",
    "norm_top",
    "padded",
]

_NEAR = 0.75
"""Candidates must exceed this fraction of the expected threshold; it is lowered if there are too few
candidates."""


class _Attached(_Top):
    """The identity on known pre-activations, with the backward pass of `_Top`."""

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
    """Add the gradient of the pre-activations to values that were selected without gradients.

    Args:
        pre: (B, N), a tensor or a `LazyLinear`.
        found: selected entries (B, k) with the values of `pre`, or 0 for unused entries, which get no
            gradient.
        path: how the gradients are summed.
    """
    if isinstance(pre, LazyLinear):
        values, _ = _Attached.apply(pre.x, pre.weight, pre.bias, pre.shift, found, _choose(path, pre.x))
    else:
        values = pre.gather(-1, found.indices)
    return Sparse(found.indices, torch.where(found.values != 0, values, 0), found.width)


@torch.no_grad()
def dense_rows(pre: Tensor | LazyLinear) -> Iterator[tuple[slice, Tensor]]:
    """Iterate over chunks of rows of the pre-activations, without gradients: (rows, (b, N))."""
    for rows in _chunks(len(pre), _width(pre)):
        if isinstance(pre, LazyLinear):
            yield rows, LazyLinear(pre.x[rows], pre.weight, pre.bias, pre.shift).dense().detach()
        else:
            yield rows, pre[rows].detach()


@torch.no_grad()
def padded(
    rows: Tensor, latents: Tensor, values: Tensor, shape: tuple[int, int], fill: float = 0.0
) -> Sparse:
    """Convert the entries of a sparse matrix to a padded code.

    Args:
        rows: row of each entry, ascending, (n,).
        latents: column of each entry, (n,).
        values: value of each entry, (n,).
        shape: shape (B, N) of the matrix.
        fill: value of unused entries.

    Example:
        >>> i = torch.tensor
        >>> padded(i([0, 1, 1]), i([2, 0, 3]), i([5.0, 6.0, 7.0]), (2, 4)).dense()
        tensor([[0., 0., 5., 0.],
                [6., 0., 0., 7.]])
    """
    size, width = shape
    counts = torch.bincount(rows, minlength=size)
    most = max(1, int(counts.max())) if len(rows) else 1
    position = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    indices = torch.arange(size * most, device=rows.device).remainder_(width).view(size, most)
    out = values.new_full((size, most), fill)
    indices[rows, position] = latents
    out[rows, position] = values
    return Sparse(indices, out, width)


def above(pre: Tensor | LazyLinear, threshold: Tensor) -> Sparse:
    """The pre-activations above 0 and above a threshold, which is scalar or one per latent.

    Example:
        >>> above(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor(1.5)).dense()
        tensor([[3., 0., 2.]])
    """
    return attach(pre, padded(*_entries(pre, threshold.detach().clamp_min(0)), (len(pre), _width(pre))))


def exceeding(pre: Tensor | LazyLinear, bound: Tensor, share: float) -> Sparse | Tensor:
    """The pre-activations above a bound for each latent, (N,), or all (B, N) if more than a share exceed it.

    The bounds may be negative: unused entries have the value -1e30.

    Example:
        >>> exceeding(torch.tensor([[3.0, -4.0, 2.0]]), torch.tensor([1.0, -5.0, 3.0]), 0.9).values
        tensor([[ 3., -4.]])
    """
    h = pre.dense() if isinstance(pre, LazyLinear) else pre
    with torch.no_grad():
        more = (h <= bound).logical_not_()  # NaN is above, so that the loss shows it
        if int(torch.count_nonzero(more)) > share * h.numel():  # a sum would first copy it as integers
            return h
        rows, latents = more.nonzero(as_tuple=True)
        found = padded(rows, latents, h[rows, latents], (len(h), h.shape[1]), fill=-1e30)
    complete = isinstance(pre, LazyLinear) and len(pre.weight) == pre.width
    return attach(pre if complete else h, found)


def batch_top(pre: Tensor | LazyLinear, total: int, near: float = 0.0) -> Sparse:
    """The largest positive pre-activations of the whole batch, exactly; ties with the last one are all kept.

    A bound slightly below the expected threshold leaves few candidates, among which the threshold is found.
    This takes B N comparisons and a selection among a few multiples of `total`, where sorting would take B N
    log(B N). If too few candidates exceed the bound, it is lowered, so the initial guess affects only the run
    time.

    Args:
        pre: (B, N), a tensor or a `LazyLinear`.
        total: the number of entries to keep.
        near: an estimate of the threshold; 0 if unknown.

    Example:
        >>> batch_top(torch.tensor([[3.0, 1.0], [2.0, -5.0]]), 2).dense()
        tensor([[3., 0.],
                [2., 0.]])
    """
    for bound in _bounds(pre, total, near):
        rows, latents, values = _entries(pre, bound)
        if len(values) >= total:
            break
    if len(values) > total > 0:
        exact = values if values.dtype.itemsize >= 4 else values.float()  # half precision has no k-th value
        keep = exact >= exact.kthvalue(len(values) - total + 1).values
        rows, latents, values = rows[keep], latents[keep], values[keep]
    return attach(pre, padded(rows, latents, values, (len(pre), _width(pre))))


def _bounds(pre: Tensor | LazyLinear, total: int, near: float) -> Iterator[float]:
    """Decreasing bounds to try: from the estimate `near`, from the first rows, and halves of that, at last 0.

    With a bound of 0, half of all pre-activations are candidates, which may not fit into memory: so it comes
    last.
    """
    if near > 0:
        yield _NEAR * near
    bound = _NEAR * _guess(pre, total)
    for _ in range(8):
        if bound > 0 and (near <= 0 or bound < _NEAR * near):
            yield bound
        bound /= 2
    yield 0.0


@torch.no_grad()
def _guess(pre: Tensor | LazyLinear, total: int) -> float:
    """The threshold of the first 64 rows, an estimate of the batch's threshold."""
    few = (
        pre[:64]
        if isinstance(pre, Tensor)
        else LazyLinear(pre.x[:64], pre.weight, pre.bias, pre.shift).dense()
    )
    share = min(few.numel(), max(1, round(total * len(few) / max(1, len(pre)))))
    return float(select(few.detach().reshape(1, -1), share)[0].min().clamp_min(0))


@torch.no_grad()
def _entries(pre: Tensor | LazyLinear, bound: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    """Row, latent and value of all entries above a bound."""
    found = []
    for part, chunk in dense_rows(pre):
        rows, latents = (chunk > bound).nonzero(as_tuple=True)
        found.append((rows + part.start, latents, chunk[rows, latents]))
    rows, latents, values = (torch.cat(one) for one in zip(*found, strict=True))
    return rows, latents, values


@torch.no_grad()
def _by_column(pre: Tensor | LazyLinear) -> Iterator[tuple[slice, Tensor]]:
    """Iterate over chunks of latents of the pre-activations: (latents, (B, n))."""
    for latents in _chunks(_width(pre), max(1, len(pre))):
        if isinstance(pre, LazyLinear):
            few = LazyLinear(pre.x, pre.weight[latents], pre.bias[latents], pre.shift)
            yield latents, few.dense().detach()
        else:
            yield latents, pre[:, latents].detach()


def column_top(pre: Tensor | LazyLinear, counts: Tensor) -> Sparse:
    """For each latent, its largest positive pre-activations in the batch, up to a budget.

    Args:
        pre: (B, N), a tensor or a `LazyLinear`.
        counts: the budget of each latent, (N,) integers from 0 to B.

    Example:
        >>> column_top(torch.tensor([[3.0, 1.0], [2.0, 5.0]]), torch.tensor([1, 2])).dense()
        tensor([[3., 1.],
                [0., 5.]])
    """
    found = []
    for part, chunk in _by_column(pre):
        budget = counts[part]
        best = chunk.topk(max(1, int(budget.max())), dim=0)
        rank = torch.arange(len(best.values), device=chunk.device)[:, None]
        at = ((rank < budget) & (best.values > 0)).nonzero(as_tuple=True)
        found.append((best.indices[at], at[1] + part.start, best.values[at]))
    rows, latents, values = (torch.cat(one) for one in zip(*found, strict=True))
    order = rows.argsort(stable=True)
    return attach(pre, padded(rows[order], latents[order], values[order], (len(pre), _width(pre))))


def largest(pre: Tensor | LazyLinear, k: int, score: Callable[[Tensor], Tensor] = torch.abs) -> Sparse:
    """The k entries of each row with the highest score, by default the largest absolute value.

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
    """The largest positive pre-activations of each row, with the count whose norm is closest to a target.

    Args:
        pre: (B, N), a tensor or a `LazyLinear`.
        target: the target norm, (B,).
        lengths: norms of the atoms, (N,), by which pre-activations are multiplied; None for unit norm.

    Example:
        >>> norm_top(torch.tensor([[4.0, 3.0, 2.0, 1.0]]), torch.tensor([4.9])).dense()
        tensor([[4., 3., 0., 0.]])
    """
    rows, latents, values = [], [], []
    for part, chunk in dense_rows(pre):
        weighed = chunk.relu() if lengths is None else chunk.relu() * lengths
        k, indices = _closest(weighed, target[part])
        at = (torch.arange(indices.shape[1], device=k.device) < k[:, None]) & (weighed.gather(1, indices) > 0)
        row, rank = at.nonzero(as_tuple=True)
        rows.append(row + part.start)
        latents.append(indices[row, rank])
        values.append(chunk[row, latents[-1]])
    found = padded(torch.cat(rows), torch.cat(latents), torch.cat(values), (len(pre), _width(pre)))
    return attach(pre, found)


def _closest(sizes: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The number of largest entries of each row whose norm is closest to the target, and their columns.

    Only as many entries are sorted as necessary.
    """
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
