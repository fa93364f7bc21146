"""An executor of processes on this machine, with one thread each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Hashable
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType
from typing import Any, Self

import narrows
from narrows.core.check import WorkError
from narrows.tournament.work import Job

__all__ = ["Processes"]

_COMMAND = [sys.executable, "-m", "narrows.tournament.worker"]


class Processes:
    """Worker processes that live as long as this executor.

    Args:
        workers: their number.
        log: the file for what they print; it is written anew.
    """

    def __init__(self, workers: int, log: Path) -> None:
        self.workers, self.log = workers, log
        self._idle: list[subprocess.Popen[str]] = []
        self._all: list[subprocess.Popen[str]] = []
        self._results: Queue[tuple[Any, subprocess.Popen[str], str]] = Queue()

    def __enter__(self) -> Self:
        self.log.write_bytes(b"")
        self._idle = [self._worker() for _ in range(self.workers)]
        return self

    def _worker(self) -> subprocess.Popen[str]:
        root = str(Path(narrows.__file__).parent.parent)
        paths = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": paths}
        with self.log.open("a") as log:
            worker = subprocess.Popen(
                _COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env=environment,
                start_new_session=True,  # Ctrl-C reaches this process only, which then ends its workers
            )
        self._all.append(worker)
        return worker

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._all:
            worker.kill()
        for worker in self._all:
            _close(worker)

    def stop(self) -> None:
        """End the processes that are not idle, and start others in their place."""
        busy = [worker for worker in self._all if worker not in self._idle]
        self._all = list(self._idle)
        self._results = Queue()  # what their threads still report is not read
        for worker in busy:
            worker.kill()
            _close(worker)
            self._idle.insert(0, self._worker())  # used last, since it has nothing in memory

    def submit(self, key: Hashable, job: Job) -> None:
        """Begin a job in an idle process."""
        worker = self._idle.pop()
        assert worker.stdin is not None
        try:
            worker.stdin.write(json.dumps(job) + "\n")
            worker.stdin.flush()
        except OSError as error:
            raise self._ended(worker) from error
        threading.Thread(target=_read, args=(key, worker, self._results), daemon=True).start()

    def wait(self, seconds: float | None = None) -> tuple[Any, dict[str, Any]] | None:
        """The key and the result of the next job that ends; None if none does within these seconds."""
        try:
            key, worker, line = self._results.get(timeout=seconds)
        except Empty:
            return None
        if not line:
            raise self._ended(worker)
        self._idle.append(worker)
        return key, json.loads(line)

    def _ended(self, worker: subprocess.Popen[str]) -> WorkError:
        code = worker.wait()
        return WorkError(
            f"A worker process ended with code {code}: see {self.log}. If memory was short, use fewer ``workers``. The "
            "same command goes on."
        )


def _read(
    key: Any, worker: subprocess.Popen[str], results: Queue[tuple[Any, subprocess.Popen[str], str]]
) -> None:
    assert worker.stdout is not None
    try:
        line = worker.stdout.readline()
    except (OSError, ValueError):  # closed meanwhile
        line = ""
    results.put((key, worker, line))


def _close(worker: subprocess.Popen[str]) -> None:
    worker.wait()
    for stream in (worker.stdin, worker.stdout):
        if stream is not None:
            try:
                stream.close()
            except OSError:
                continue
