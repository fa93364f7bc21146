"""`Executor`: does jobs, several at once; `drive`: gives it those that are ready until none is left."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from narrows.tournament.work import Job

__all__ = ["Executor", "drive"]


class Executor(Protocol):
    """Something that does jobs in other processes. A context manager: at its end, what still runs is stopped."""

    workers: int

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def submit(self, key: Hashable, job: Job) -> None:
        """Begin a job; at most `workers` at once."""
        ...

    def wait(self, seconds: float | None = None) -> tuple[Any, dict[str, Any]] | None:
        """The key and the result of the next job that ends; None if none does within these seconds.

        Raises:
            WorkError: a worker ended without a result.
        """
        ...

    def stop(self) -> None:
        """Stop all jobs that run, and forget them."""
        ...


def drive(
    executor: Executor,
    ready: Callable[[], Mapping[Any, Job]],
    record: Callable[[Any, dict[str, Any]], None],
    left: Callable[[], float] | None = None,
) -> set[Any]:
    """Do jobs until none is ready, or the time is over; then all that still run are stopped.

    Args:
        executor: does them.
        ready: the jobs without a result that need none of another, by key, the first to be begun first.
        record: keeps a result; called once for each job, in the order in which they end.
        left: the seconds that are left; without end if None.

    Returns:
        The keys of the jobs that were stopped.
    """
    running: set[Any] = set()
    while True:
        seconds = None if left is None else left()
        if seconds is None or seconds > 0:
            for key, job in ready().items():
                if key not in running and len(running) < executor.workers:
                    executor.submit(key, job)
                    running.add(key)
        if not running:
            return set()
        found = executor.wait(None if seconds is None else max(0.0, seconds))
        if found is None:
            executor.stop()
            return running
        key, result = found
        running.discard(key)
        record(key, result)
