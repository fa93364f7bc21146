"""An executor of tasks on a Ray cluster."""

from __future__ import annotations

import os
import socket
from collections.abc import Hashable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from narrows.core.check import RequestError, WorkError, optional
from narrows.tournament.work import Job, perform

__all__ = ["OnRay"]

_TIMEOUT = 5.0
_ENVIRONMENT = ("PYTHONPATH", "NARROWS_DATA")


class OnRay:
    """Tasks of one processor each on a Ray cluster. The machines share the file system with this one.

    Args:
        address: of the cluster's head, such as ``10.0.0.1:6379``; ``local`` starts one on this machine.
        workers: how many tasks run at once.

    Raises:
        RequestError: nothing answers at the address.
        WorkError: Ray is not installed.
    """

    def __init__(self, address: str, workers: int) -> None:
        self.address, self.workers = address, workers
        if address != "local":
            _check_answers(address)
        self._ray: Any = optional("ray", "ray", "train on a cluster")
        self._running: dict[Any, Hashable] = {}

    def __enter__(self) -> Self:
        variables = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        start: dict[str, Any] = {"runtime_env": {"env_vars": {**variables, "OMP_NUM_THREADS": "1"}}}
        if self.address == "local":
            start |= {"num_cpus": self.workers, "include_dashboard": False}
        try:
            self._ray.init(address=self.address, log_to_driver=False, logging_level="ERROR", **start)
        except (ConnectionError, RuntimeError, OSError) as error:
            reason = str(error).split("\n")[0]
            raise RequestError(f"The Ray cluster at {self.address} cannot be used: {reason}") from error
        self._work = self._ray.remote(num_cpus=1, max_retries=0)(perform)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._running:
            with suppress(Exception):  # it has ended meanwhile
                self._ray.cancel(task, force=True)
        self._ray.shutdown()

    def submit(self, key: Hashable, job: Job) -> None:
        """Begin a job as a task."""
        self._running[self._work.remote(job)] = key

    def wait(self) -> tuple[Any, dict[str, Any]]:
        """The key and the result of the next task that ends."""
        (task, *_), _ = self._ray.wait(list(self._running), num_returns=1)
        key = self._running.pop(task)
        try:
            return key, self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            reason = str(error).split("\n")[0]
            raise WorkError(f"A task on Ray ended: {reason}. The same command goes on.") from error


def _check_answers(address: str) -> None:
    """Check that something listens at an address, before Ray tries for long."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        raise RequestError(
            f"``ray={address!r}`` is no address. Give the host and the port of the head: 10.0.0.1:6379."
        )
    try:
        socket.create_connection((host, int(port)), timeout=_TIMEOUT).close()
    except (OSError, OverflowError) as error:
        raise RequestError(
            f"No Ray cluster answers at {address}: {getattr(error, 'strerror', None) or error}. Start one with: "
            "ray start --head; or leave ``ray`` out to train in processes of this machine."
        ) from error
