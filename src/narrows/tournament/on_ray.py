"""An executor of tasks on a Ray cluster."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from narrows.core.check import RequestError, WorkError, optional
from narrows.tournament.work import Job, perform

__all__ = ["OnRay"]

_TIMEOUT = 5.0
_PATIENCE = 30.0
"""Seconds in which a cluster must accept a connection."""

_ENVIRONMENT = ("PYTHONPATH", "NARROWS_DATA")
_MODE, _TOKEN, _TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_CONNECT = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')"


class OnRay:
    """Tasks of one processor each on a Ray cluster. The machines share the file system with this one.

    A cluster may ask for a token. It is looked for where Ray does: in ``RAY_AUTH_TOKEN``, in the file that
    ``RAY_AUTH_TOKEN_PATH`` names, and in ``~/.ray/auth_token``.

    Args:
        address: of the cluster's head, such as ``10.0.0.1:6379``; ``local`` starts one on this machine.
        workers: how many tasks run at once.

    Raises:
        RequestError: nothing answers at the address, or the token is missing or another.
        WorkError: Ray is not installed.
    """

    def __init__(self, address: str, workers: int) -> None:
        self.address, self.workers = address, workers
        if address != "local":
            _check_listens(address)
            if _MODE not in os.environ and _has_token():
                os.environ[_MODE] = "token"  # a cluster that asks for none does not mind one
        self._ray: Any = optional("ray", "ray", "train on a cluster")
        if address != "local":
            _check_accepts(address)
        self._running: dict[Any, Hashable] = {}

    def __enter__(self) -> Self:
        variables = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        start: dict[str, Any] = {"runtime_env": {"env_vars": {**variables, "OMP_NUM_THREADS": "1"}}}
        if self.address == "local":
            start |= {"num_cpus": self.workers, "include_dashboard": False}
        try:
            self._ray.init(address=self.address, log_to_driver=False, logging_level="ERROR", **start)
        except (ConnectionError, RuntimeError, OSError, self._ray.exceptions.RayError) as error:
            reason = str(error).split("\n")[0]
            raise RequestError(
                f"The Ray cluster at {self.address} cannot be used: {reason}. If it asks for a token, set "
                f"{_MODE}=token before Python starts."
            ) from error
        self._work = self._ray.remote(num_cpus=1, max_retries=0)(perform)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._ray.shutdown()

    def stop(self) -> None:
        """Stop all tasks."""
        for task in self._running:
            with suppress(Exception):  # it has ended meanwhile
                self._ray.cancel(task, force=True)
        self._running.clear()

    def submit(self, key: Hashable, job: Job) -> None:
        """Begin a job as a task."""
        self._running[self._work.remote(job)] = key

    def wait(self, seconds: float | None = None) -> tuple[Any, dict[str, Any]] | None:
        """The key and the result of the next task that ends; None if none does within these seconds."""
        ended, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        if not ended:
            return None
        key = self._running.pop(ended[0])
        try:
            return key, self._ray.get(ended[0])
        except self._ray.exceptions.RayError as error:
            reason = str(error).split("\n")[0]
            raise WorkError(f"A task on Ray ended: {reason}. The same command goes on.") from error


def _has_token() -> bool:
    """Whether there is a token where Ray looks for one."""
    default = Path.home() / ".ray" / "auth_token"
    return bool(os.environ.get(_TOKEN) or os.environ.get(_TOKEN_PATH)) or default.is_file()


def _check_listens(address: str) -> None:
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


def _check_accepts(address: str) -> None:
    """Check that a cluster accepts a connection, in a process of its own, since Ray may wait for minutes or exit."""
    with tempfile.TemporaryFile() as told:
        command = [sys.executable, "-c", _CONNECT, address]
        process = subprocess.Popen(command, stdout=told, stderr=told)
        end = time.monotonic() + _PATIENCE
        try:
            while process.poll() is None and time.monotonic() < end and not _refused(told.fileno()):
                time.sleep(0.1)
            if _refused(told.fileno()):
                raise RequestError(
                    f"The Ray cluster at {address} asks for a token. Set {_MODE}=token and {_TOKEN} to what `ray "
                    "get-auth-token` prints on its head, or copy its file ~/.ray/auth_token."
                )
            if process.poll() != 0:
                raise RequestError(
                    f"No Ray cluster answers at {address}, though something listens there. Check the port of the "
                    "head, and that Ray has the same version on both sides."
                )
        finally:
            process.kill()
            process.wait()


def _refused(file: int) -> bool:
    """Whether Ray has printed that the token is missing or another."""
    printed = os.pread(file, 1 << 16, 0).lower()
    return b"authtoken" in printed or b"authentication token" in printed
