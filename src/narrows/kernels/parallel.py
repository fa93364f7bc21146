"""Tensor-parallel dictionaries: each process holds a shard of the latents, and all process the same batch.

Computation and communication of W processes with N / W latents each::

    x --own rows of the encoder--> pre (B, N / W) --top k--> candidates (B, k)
      --all-gather--> (B, W k) --top k--> the code, replicated
      --own atoms--> a part of x_hat --all-reduce--> x_hat, replicated

The global k largest are among the k largest of each shard, so the selection is exact. The loss is replicated;
in the backward pass each process keeps the gradient of its own rows, and only gradients of replicated
parameters that enter each shard (the centre that is subtracted) are summed. No message has N columns.

References:
    Gao et al. (2024), *Scaling and evaluating sparse autoencoders*, arXiv 2406.04093, appendix D
    (parallelism). Shoeybi et al. (2019), *Megatron-LM*, arXiv 1909.08053 (sums forward or backward).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from narrows.core.check import whole
from narrows.core.values import Sparse
from narrows.kernels.sparse import LazyLinear, Path, _choose, _Top, decode, select

__all__ = ["SplitLinear", "TensorShard", "combine"]


@dataclass(frozen=True)
class TensorShard:
    """The shard of the latents on this process: number `rank` of `world_size` equal shards.

    Example:
        >>> TensorShard(1, 2).part(torch.arange(6))
        tensor([3, 4, 5])
    """

    rank: int
    world_size: int

    def part(self, rows: Tensor) -> Tensor:
        """The rows of a full matrix that belong to this shard."""
        return rows.chunk(self.world_size)[self.rank]

    def join(self, part: Tensor) -> Tensor:
        """The full matrix gathered from all shards; all processes must call it."""
        return torch.cat(_gathered(part.detach(), self.world_size))


@dataclass(frozen=True)
class SplitLinear(LazyLinear):
    """A `LazyLinear` whose rows of `weight` and `bias` are sharded over processes.

    Args:
        numbers: global index of each local row, (n,).
        total: the number of latents on all processes together.
        shard: the shard of this process.
    """

    numbers: Tensor | None = None
    total: int = 0
    shard: TensorShard = TensorShard(0, 1)

    @classmethod
    def of(cls, part: LazyLinear, shard: TensorShard) -> SplitLinear:
        """The pre-activations of all latents, from this process's `part`."""
        n = len(part.weight)
        numbers = torch.arange(shard.rank * n, (shard.rank + 1) * n, device=part.weight.device)
        x, shift = (None if t is None else _Replicated.apply(t) for t in (part.x, part.shift))
        return cls(x, part.weight, part.bias, shift, numbers, shard.world_size * n, shard)  # type: ignore[arg-type]

    @property
    def width(self) -> int:
        """The number of latents on all processes."""
        return self.total

    def dense(self) -> Tensor:
        """All pre-activations, (B, N), replicated."""
        here = super().dense()
        assert self.numbers is not None
        return _Sum.apply(here.new_zeros(len(here), self.total).index_copy(1, self.numbers, here))

    def only(self, latents: Tensor) -> SplitLinear:
        """The pre-activations of some latents, by their global indices `latents` (n,)."""
        assert self.numbers is not None
        first = int(self.numbers[0])
        mine = ((latents >= first) & (latents < first + len(self.weight))).nonzero().squeeze(1)
        rows = latents[mine] - first
        return SplitLinear(
            self.x, self.weight[rows], self.bias[rows], self.shift, mine, len(latents), self.shard
        )

    def top(self, k: int, path: Path = "auto") -> Sparse:
        """The k largest pre-activations of each row over all shards, replicated."""
        whole("k", k, low=1, high=self.total)
        assert self.numbers is not None
        here = min(k, len(self.weight))
        values, numbers = self.x.new_zeros(len(self.x), 0), self.numbers.new_zeros(len(self.x), 0)
        if here:
            values, rows = _Top.apply(self.x, self.weight, self.bias, self.shift, here, _choose(path, self.x))
            numbers = self.numbers[rows]
        elif self.shift is not None:  # all processes need the same backward graph
            values = values + 0 * self.shift.sum()
        values = F.pad(values, (0, k - here), value=-torch.inf)
        numbers = torch.cat(_gathered(F.pad(numbers, (0, k - here)), self.shard.world_size), 1)
        candidates: Tensor = _Gather.apply(values, self.shard)
        _, at = select(candidates.detach(), k)
        return Sparse(numbers.gather(1, at), candidates.gather(1, at), self.total)


def combine(z: Sparse | Tensor, atoms: Tensor, shard: TensorShard) -> Tensor:
    """The weighted sum of sharded atoms, ``z @ atoms``, replicated.

    Args:
        z: the full code, (..., N), replicated.
        atoms: the local atoms, (N / world_size, D).
        shard: the shard of this process.
    """
    n = len(atoms)
    first = shard.rank * n
    if not isinstance(z, Sparse):
        return _Sum.apply(z[..., first : first + n] @ atoms)
    mine = (z.indices >= first) & (z.indices < first + n)
    # Latents of other processes get value 0; their indices are spread over the local atoms.
    indices = torch.where(mine, z.indices - first, z.indices % n)
    return _Sum.apply(decode(Sparse(indices, torch.where(mine, z.values, 0), n), atoms))


def _gathered(part: Tensor, world_size: int) -> list[Tensor]:
    parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(world_size)]
    torch.distributed.all_gather(parts, part.contiguous())
    return parts


class _Replicated(torch.autograd.Function):
    """The identity on a replicated tensor; gradients are summed over processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.clone()
        torch.distributed.all_reduce(grad)
        return grad


class _Sum(torch.autograd.Function):
    """The sum of a tensor over processes; each process's gradient is that of the replicated sum."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class _Gather(torch.autograd.Function):
    """Concatenate the processes' columns, (B, k) -> (B, W k); each keeps the gradient of its own."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, shard: TensorShard) -> Tensor:
        ctx.own = slice(shard.rank * part.shape[1], (shard.rank + 1) * part.shape[1])
        return torch.cat(_gathered(part, shard.world_size), 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad[:, ctx.own].contiguous(), None
