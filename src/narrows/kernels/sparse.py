"""Sparse kernels for dictionaries: lazy pre-activations, top-k, decoding, and their gradients.

A wide dictionary has N latents of which k (a few dozen) are active for one example. A dense training step
costs five (B, D, N) products; here it costs one, the encoder's, because only the selected latents are decoded
and only they get gradients, in the encoder as in the decoder:

    pre = (x - shift) W' + b      `LazyLinear`: (B, N), never stored whole
    z = the k largest of pre      `LazyLinear.top` -> `Sparse`, (B, k) values and indices
    x_hat = z A                   `decode`, (B, D): a weighted sum of k atoms
    dW = (dz)' (x - shift)        a weighted sum of the few rows that used each latent

Forward and backward are weighted sums of rows, which `embedding_bag` computes on CPU and CUDA without a copy
of the gathered rows, and in a fixed order, so that two runs agree bit for bit. On other devices (or with
`path="index_add"`) rows are gathered in bounded chunks. The dense pre-activations exist for a chunk of rows
at a time only. The backward passes of encoder and decoder both group the code by latent, so it is sorted once
for both.

References:
    Gao et al. (2024), *Scaling and evaluating sparse autoencoders*, arXiv 2406.04093, appendix D (sparse
    kernels).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from narrows.core import Sparse
from narrows.core.check import whole

__all__ = ["LazyLinear", "Path", "decode", "select", "top"]

Path: TypeAlias = Literal["auto", "bag", "index_add"]
"""How sums over sparse rows are computed: ``bag`` (`embedding_bag`), ``index_add`` (any device), or
``auto``."""

_CHUNK = 7 * 2**20
"""Elements of a scratch matrix. 28 MB in float32 stays in a server's cache, and below the size (32 MB) from
which the C allocator asks the kernel for fresh, zeroed pages at every step."""

_TOO_MANY = "k cannot exceed the number of latents."

_ROWS = 256
"""The minimum number of rows of a chunk; with fewer the matrix product is slow."""


@dataclass(frozen=True)
class LazyLinear:
    """The output of a linear encoder, whose evaluation is left to the bottleneck.

    ``pre = (x - shift) @ weight.T + bias``, (B, N). A bottleneck that needs all pre-activations calls
    `dense`; one that keeps only the largest calls `top`, and then neither the values nor their gradients are
    ever dense.

    Args:
        x: the inputs, (B, D).
        weight: one row per latent, (N, D).
        bias: (N,).
        shift: subtracted from x, (D,), or None.

    Example:
        >>> a = LazyLinear(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0], [0, 1], [1, 1]]), torch.zeros(3))
        >>> a.dense(), a.top(1).values
        (tensor([[1., 2., 3.]]), tensor([[3.]]))
    """

    x: Tensor
    weight: Tensor
    bias: Tensor
    shift: Tensor | None = None

    @property
    def width(self) -> int:
        """The number of latents, N."""
        return len(self.weight)

    def __len__(self) -> int:
        return len(self.x)

    def dense(self) -> Tensor:
        """All pre-activations, (B, N)."""
        x = self.x if self.shift is None else self.x - self.shift
        return F.linear(x, self.weight, self.bias)

    def only(self, latents: Tensor) -> LazyLinear:
        """The pre-activations of some latents, by their indices `latents` (n,)."""
        return LazyLinear(self.x, self.weight[latents], self.bias[latents], self.shift)

    def top(self, k: int, path: Path = "auto") -> Sparse:
        """The k largest pre-activations of each row; only they get a gradient.

        Args:
            k: the number per row, from 1 to N.
            path: how the gradients are summed.

        Raises:
            RequestError: k is not between 1 and the width.
        """
        whole("k", k, low=1, high=self.width, fix=_TOO_MANY)
        values, indices = _Top.apply(self.x, self.weight, self.bias, self.shift, k, _choose(path, self.x))
        return Sparse(indices, values, self.width)


def top(pre: Tensor | LazyLinear, k: int, path: Path = "auto") -> Sparse:
    """The k largest pre-activations of each row, of a tensor (B, N) or of a `LazyLinear`.

    Example:
        >>> top(torch.tensor([[3.0, 1.0, 2.0]]), 1)
        Sparse(indices=tensor([[0]]), values=tensor([[3.]]), width=3)
    """
    if isinstance(pre, LazyLinear):
        return pre.top(k, path)
    whole("k", k, low=1, high=pre.shape[-1], fix=_TOO_MANY)
    _, indices = select(pre.detach().flatten(0, -2), k)
    indices = indices.unflatten(0, pre.shape[:-1])
    return Sparse(indices, pre.gather(-1, indices), pre.shape[-1])


def decode(code: Sparse, atoms: Tensor, path: Path = "auto") -> Tensor:
    """The weighted sum of the atoms of a sparse code: ``code.dense() @ atoms``, without the dense code.

    Args:
        code: indices and values (..., k) over N latents.
        atoms: one row per latent, (N, D).
        path: how the sums are computed.

    Returns:
        (..., D).

    Example:
        >>> decode(Sparse(torch.tensor([[2, 0]]), torch.tensor([[5.0, 1.0]]), 3), torch.eye(3))
        tensor([[1., 0., 5.]])
    """
    indices, values = code.indices.flatten(0, -2), code.values.flatten(0, -2)
    # The first function has the gradient of the values, the second that of the atoms.
    if _choose(path, values) == "bag":
        out = F.embedding_bag(indices, atoms.detach(), per_sample_weights=values, mode="sum")
    else:
        out = _Gathered.apply(values, indices, atoms.detach())
    out = _AtomGradient.apply(out, atoms, values.detach(), indices, path)
    return out.unflatten(0, code.values.shape[:-1])


@torch.no_grad()
def select(pre: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row, unordered and with ties broken arbitrarily, faster than `torch.topk`.

    The columns are divided into groups. A row's k largest values lie in the k groups with the largest maxima,
    since the values of any other group are below those k maxima. So the maxima of the groups are computed,
    then the best k groups, then the best k of their members. With groups of sqrt(N / k) this selects among 2
    sqrt(N k) numbers instead of N. On CPU the selection uses NumPy's vectorised partition, which takes half
    the time of `topk`.

    Args:
        pre: (B, N), N >= k.
        k: the number per row.

    Returns:
        values and int64 indices, (B, k).

    Example:
        >>> values, indices = select(torch.arange(100.0).view(1, 100), 2)
        >>> sorted(indices[0].tolist())
        [98, 99]
    """
    rows, width = pre.shape
    size = math.isqrt(width // k)
    if size < 4 or pre.device.type != "cpu":
        values, indices = pre.topk(k, sorted=False)
        return values, indices
    # Group j has the columns j, j + groups, j + 2 groups ..., so that the maxima read contiguous memory.
    groups = width // size
    inside = pre[:, : groups * size].unflatten(1, (size, groups))
    best = _largest(inside.amax(1), k)
    members = inside.gather(2, best[:, None, :].expand(rows, size, k)).flatten(1)
    if groups * size < width:
        members = torch.cat([members, pre[:, groups * size :]], 1)
    at = _largest(members, k)
    values = members.gather(1, at)
    indices = at.div(k, rounding_mode="floor") * groups + best.gather(1, at % k)
    tail = at - size * k + groups * size
    return values, torch.where(at < size * k, indices, tail)


def _largest(x: Tensor, k: int) -> Tensor:
    """Indices of the k largest of each row, unordered; x is on the CPU."""
    if x.dtype not in (torch.float32, torch.float64) or torch.compiler.is_compiling():
        return x.topk(k, sorted=False).indices
    at = np.argpartition(x.numpy(), x.shape[1] - k, axis=1)[:, x.shape[1] - k :]
    return torch.from_numpy(np.ascontiguousarray(at))


def _choose(path: Path, like: Tensor) -> Path:
    """The path for tensors on this device."""
    if path != "auto":
        return path
    return "bag" if like.device.type in ("cpu", "cuda") else "index_add"


def _chunks(rows: int, width: int) -> Iterator[slice]:
    """Even slices of the rows such that a (slice, width) matrix has bounded size."""
    most = max(_ROWS, _CHUNK // width)
    size = math.ceil(rows / max(1, math.ceil(rows / most)))
    return (slice(start, start + size) for start in range(0, rows, max(1, size)))


class _ByLatent:
    """A sparse code grouped by latent, for products of its transpose.

    `sum` multiplies the code's transpose with a dense matrix: out[n] = sum_b z[b, n] dense[b].
    """

    def __init__(self, indices: Tensor, width: int, path: Path) -> None:
        self.indices, self.width, self.path = indices, width, path
        if path == "bag":
            ids, self.order = indices.flatten().to(torch.int32).sort(stable=True)
            self.rows = self.order.div(indices.shape[1], rounding_mode="floor")
            starts = torch.arange(width + 1, dtype=torch.int32, device=ids.device)
            self.offsets = torch.searchsorted(ids, starts)

    def sum(self, values: Tensor, dense: Tensor) -> Tensor:
        """(N, D) from values (B, k) and dense (B, D)."""
        if self.path == "bag":
            return F.embedding_bag(
                self.rows,
                dense,
                self.offsets,
                per_sample_weights=values.flatten()[self.order],
                mode="sum",
                include_last_offset=True,
            )
        out = dense.new_zeros(self.width, dense.shape[1])
        for part in _chunks(len(dense), values.shape[1] * dense.shape[1]):
            rows = values[part].unsqueeze(2) * dense[part].unsqueeze(1)
            out.index_add_(0, self.indices[part].flatten(), rows.flatten(0, 1))
        return out


class _Last:
    """Caches the last `_ByLatent`: the backward passes of a decoder and its encoder use the same one."""

    key: tuple[object, ...] = ()
    indices: Tensor | None = None  # kept alive, so that no other tensor can have its address
    found: _ByLatent | None = None

    @classmethod
    def of(cls, indices: Tensor, width: int, path: Path) -> _ByLatent:
        """The `_ByLatent` of some indices, sorted only if they differ from the last ones."""
        if torch.compiler.is_compiling() or indices.is_inference():
            return _ByLatent(indices, width, path)
        key = (indices.data_ptr(), indices._version, indices.shape, indices.stride(), width, path)
        if cls.found is None or key != cls.key:
            cls.key, cls.indices, cls.found = key, indices, _ByLatent(indices, width, path)
        return cls.found


class _Top(torch.autograd.Function):
    """The k largest of an affine map, computed in chunks; backward uses the selected entries only."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, shift: Tensor | None, k: int, path: Path
    ) -> tuple[Tensor, Tensor]:
        centred = x if shift is None else x - shift
        parts = [select(F.linear(centred[part], weight, bias), k) for part in _chunks(len(x), len(weight))]
        values, indices = (torch.cat(p) if len(p) != 1 else p[0] for p in zip(*parts, strict=True))
        ctx.save_for_backward(centred, weight, indices)
        ctx.path = path
        ctx.mark_non_differentiable(indices)
        return values.to(x.dtype), indices  # under autocast only the product is in half precision

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        centred, weight, indices = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, needs_shift = ctx.needs_input_grad[:4]
        by_latent = _Last.of(indices, len(weight), ctx.path)
        to_x = to_weight = to_bias = to_shift = None
        if needs_weight:
            to_weight = by_latent.sum(grad, centred)
        if needs_bias or needs_shift:
            to_bias = by_latent.sum(grad, grad.new_ones(len(grad), 1)).squeeze(1)
        if needs_shift and to_bias is not None:
            # D N multiply-adds, where summing the inputs' gradients would take B k D.
            to_shift = -(to_bias @ weight)
        if needs_x:
            to_x = decode(Sparse(indices, grad, len(weight)), weight, ctx.path)
        return to_x, to_weight, to_bias, to_shift, None, None


class _Gathered(torch.autograd.Function):
    """Weighted sums of gathered rows in bounded chunks, for devices without `embedding_bag`."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, indices: Tensor, atoms: Tensor) -> Tensor:
        ctx.save_for_backward(indices, atoms)
        out = atoms.new_empty(len(values), atoms.shape[1])
        for part in _chunks(len(values), indices.shape[1] * atoms.shape[1]):
            out[part] = torch.bmm(values[part].unsqueeze(1), atoms[indices[part]]).squeeze(1)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        indices, atoms = ctx.saved_tensors
        out = grad.new_empty(indices.shape)
        for part in _chunks(len(grad), indices.shape[1] * atoms.shape[1]):
            out[part] = torch.bmm(atoms[indices[part]], grad[part].unsqueeze(2)).squeeze(2)
        return out, None, None


class _AtomGradient(torch.autograd.Function):
    """The identity on decoded rows, with the gradient of the atoms: dA[n] = sum_b z[b, n] dx_hat[b]."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, atoms: Tensor, values: Tensor, indices: Tensor, path: Path) -> Tensor:
        ctx.save_for_backward(values, indices)
        ctx.width, ctx.path = len(atoms), _choose(path, out)
        return out.view_as(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, indices = ctx.saved_tensors
        to_atoms = None
        if ctx.needs_input_grad[1]:
            to_atoms = _Last.of(indices, ctx.width, ctx.path).sum(values, grad.contiguous())
        return grad, to_atoms, None, None, None
