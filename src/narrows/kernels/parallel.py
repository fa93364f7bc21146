"""A dictionary cut over processes: each holds some of the latents, all see the same batch (tensor parallel).

What each process computes, and what passes between them, W of them, N / W latents each::

    x --own rows of the encoder--> pre (B, N / W) --top k--> candidates (B, k)
      --all-gather--> (B, W k) --top k--> the code, alike everywhere
      --own atoms--> a part of x_hat --all-reduce--> x_hat, alike everywhere

The k largest of all are among the k largest of each, so the selection is exact. The loss is computed alike
everywhere; on the way back each process keeps the gradient of its own rows, and only what all share and each sees a
part of (the centre that is subtracted) is summed. Nothing as wide as N is ever sent.

References:
    Gao et al. (2024), *Scaling and evaluating sparse autoencoders*, arXiv 2406.04093, appendix D (parallelism).
    Shoeybi et al. (2019), *Megatron-LM*, arXiv 1909.08053 (sums forward or backward).
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
    """Which part of the latents is here: number `rank` of `world` equal parts.

    Example:
        >>> TensorShard(1, 2).part(torch.arange(6))
        tensor([3, 4, 5])
    """

    rank: int
    world: int

    def part(self, rows: Tensor) -> Tensor:
        """The part that is here of the rows of a whole matrix."""
        return rows.chunk(self.world)[self.rank]

    def join(self, part: Tensor) -> Tensor:
        """The whole matrix of which each process has a part; every process must ask."""
        return torch.cat(_gathered(part.detach(), self.world))


@dataclass(frozen=True)
class SplitLinear(LazyLinear):
    """Pre-activations (B, N), not computed yet, of which this process has some of the rows of `weight` and `bias`.

    Args:
        numbers: the number of each row here among all, (n,).
        total: how many there are on all processes together.
        cut: which part is here.
    """

    numbers: Tensor | None = None
    total: int = 0
    cut: TensorShard = TensorShard(0, 1)

    @classmethod
    def of(cls, part: LazyLinear, cut: TensorShard) -> SplitLinear:
        """All latents, of which `part` is this process's part."""
        n = len(part.weight)
        numbers = torch.arange(cut.rank * n, (cut.rank + 1) * n, device=part.weight.device)
        x, shift = (None if t is None else _Alike.apply(t) for t in (part.x, part.shift))
        return cls(x, part.weight, part.bias, shift, numbers, cut.world * n, cut)  # type: ignore[arg-type]

    @property
    def width(self) -> int:
        """How many latents there are on all processes."""
        return self.total

    def dense(self) -> Tensor:
        """All pre-activations, (B, N), everywhere."""
        here = super().dense()
        assert self.numbers is not None
        return _Sum.apply(here.new_zeros(len(here), self.total).index_copy(1, self.numbers, here))

    def only(self, latents: Tensor) -> SplitLinear:
        """The same for some of the latents, in the order of their numbers `latents` (n,)."""
        assert self.numbers is not None
        first = int(self.numbers[0])
        mine = ((latents >= first) & (latents < first + len(self.weight))).nonzero().squeeze(1)
        rows = latents[mine] - first
        return SplitLinear(
            self.x, self.weight[rows], self.bias[rows], self.shift, mine, len(latents), self.cut
        )

    def top(self, k: int, path: Path = "auto") -> Sparse:
        """The k largest pre-activations of each row among all, alike everywhere."""
        whole("k", k, low=1, high=self.total)
        assert self.numbers is not None
        here = min(k, len(self.weight))
        values, numbers = self.x.new_zeros(len(self.x), 0), self.numbers.new_zeros(len(self.x), 0)
        if here:
            values, rows = _Top.apply(self.x, self.weight, self.bias, self.shift, here, _choose(path, self.x))
            numbers = self.numbers[rows]
        elif self.shift is not None:  # the way back must be the same everywhere
            values = values + 0 * self.shift.sum()
        values = F.pad(values, (0, k - here), value=-torch.inf)
        numbers = torch.cat(_gathered(F.pad(numbers, (0, k - here)), self.cut.world), 1)
        candidates: Tensor = _Gather.apply(values, self.cut)
        _, at = select(candidates.detach(), k)
        return Sparse(numbers.gather(1, at), candidates.gather(1, at), self.total)


def combine(z: Sparse | Tensor, atoms: Tensor, cut: TensorShard) -> Tensor:
    """The weighted sum of atoms of which this process has a part: ``z @ all atoms``, everywhere.

    Args:
        z: the whole code, (..., N), alike everywhere.
        atoms: the atoms here, (N / world, D).
        cut: which part they are.
    """
    n = len(atoms)
    first = cut.rank * n
    if not isinstance(z, Sparse):
        return _Sum.apply(z[..., first : first + n] @ atoms)
    mine = (z.indices >= first) & (z.indices < first + n)
    # Places of other processes' latents count 0, spread over the atoms here.
    indices = torch.where(mine, z.indices - first, z.indices % n)
    return _Sum.apply(decode(Sparse(indices, torch.where(mine, z.values, 0), n), atoms))


def _gathered(part: Tensor, world: int) -> list[Tensor]:
    parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(world)]
    torch.distributed.all_gather(parts, part.contiguous())
    return parts


class _Alike(torch.autograd.Function):
    """What is alike everywhere and used in part by each: as it is; its gradients are summed."""

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
    """The sum of the processes' parts; each part's gradient is the sum's, which is alike everywhere."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class _Gather(torch.autograd.Function):
    """The processes' columns side by side, (B, k) -> (B, W k); each keeps the gradient of its own."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, cut: TensorShard) -> Tensor:
        ctx.own = slice(cut.rank * part.shape[1], (cut.rank + 1) * part.shape[1])
        return torch.cat(_gathered(part, cut.world), 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad[:, ctx.own].contiguous(), None
