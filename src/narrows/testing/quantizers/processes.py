"""Two processes in one: threads whose collectives sum over both, for codebooks that learn from a global batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

__all__ = ["two_processes"]

_WAIT = 60.0
_LOCK = threading.Lock()


class _Done:
    """The handle of an asynchronous collective that has ended."""

    def wait(self) -> None:
        """Nothing to wait for."""


class _Group:
    """The collectives of threads, by a barrier."""

    def __init__(self, size: int) -> None:
        self.size, self.barrier = size, threading.Barrier(size)
        self.local, self.slots = threading.local(), [torch.empty(0)] * size

    def gather(self, value: Tensor) -> list[Tensor]:
        """The tensors of all threads."""
        self.slots[self.local.rank] = value.detach().clone()
        self.barrier.wait(_WAIT)
        found = list(self.slots)
        self.barrier.wait(_WAIT)
        return found

    def all_reduce(self, tensor: Tensor, *more: Any, **options: Any) -> _Done:
        """The sum, in place."""
        with torch.no_grad():
            tensor.copy_(torch.stack(self.gather(tensor)).sum(0).to(tensor.dtype))
        return _Done()

    def broadcast(self, tensor: Tensor, src: int = 0, *more: Any, **options: Any) -> _Done:
        """The tensor of one, in place."""
        with torch.no_grad():
            tensor.copy_(self.gather(tensor)[src])
        return _Done()

    @contextmanager
    def active(self) -> Iterator[None]:
        """`torch.distributed` as one of this group's threads sees it."""
        faked: dict[str, Any] = {
            "is_available": lambda: True,
            "is_initialized": lambda: True,
            "get_world_size": lambda *group: self.size,
            "get_rank": lambda *group: self.local.rank,
            "all_reduce": self.all_reduce,
            "broadcast": self.broadcast,
            "barrier": lambda *group: self.barrier.wait(_WAIT),
        }
        with _LOCK, patch.multiple(torch.distributed, **faked):
            yield


def two_processes(work: Sequence[Callable[[], object]]) -> None:
    """Run functions at the same time, as one process each of a group.

    `torch.distributed` is replaced for the time; only sums, broadcasts and barriers exist.

    Args:
        work: what each process does.

    Example:
        >>> x, y = torch.ones(1), 2 * torch.ones(1)
        >>> two_processes([lambda: torch.distributed.all_reduce(t) for t in (x,)] + [
        ...     lambda: torch.distributed.all_reduce(y)])
        >>> x, y
        (tensor([3.]), tensor([3.]))
    """
    group, errors = _Group(len(work)), list[BaseException]()

    def run(rank: int) -> None:
        group.local.rank = rank
        try:
            work[rank]()
        except BaseException as error:  # a thread's error is raised by the caller
            errors.append(error)
            group.barrier.abort()

    with group.active():
        threads = [threading.Thread(target=run, args=(rank,)) for rank in range(len(work))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    causes = [e for e in errors if not isinstance(e, threading.BrokenBarrierError)]
    if errors:
        raise (causes or errors)[0]
