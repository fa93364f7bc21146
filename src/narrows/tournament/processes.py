"""An executor of processes on this machine, with one thread each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Hashable
from pathlib import Path
from queue import Queue
from types import TracebackType
from typing import Any, Self

import narrows
from narrows.core.check import WorkError
from narrows.tournament.work import Job

__all__ = ["Processes"]


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
        root = str(Path(narrows.__file__).parent.parent)
        paths = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": paths}
        with self.log.open("w") as log:
            for _ in range(self.workers):
                worker = subprocess.Popen(
                    [sys.executable, "-m", "narrows.tournament.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    encoding="utf-8",
                    env=environment,
                    start_new_session=True,  # Ctrl-C reaches this process only, which then ends its workers
                )
                self._all.append(worker)
        self._idle = list(self._all)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._all:
            worker.kill()
        for worker in self._all:
            worker.wait()
            for stream in (worker.stdin, worker.stdout):
                if stream is not None:
                    try:
                        stream.close()
                    except OSError:
                        continue

    def submit(self, key: Hashable, job: Job) -> None:
        """Begin a job in an idle process."""
        worker = self._idle.pop()
        assert worker.stdin is not None
        try:
            worker.stdin.write(json.dumps(job) + "\n")
            worker.stdin.flush()
        except OSError as error:
            raise self._ended(worker) from error
        threading.Thread(target=self._read, args=(key, worker), daemon=True).start()

    def _read(self, key: Any, worker: subprocess.Popen[str]) -> None:
        assert worker.stdout is not None
        try:
            line = worker.stdout.readline()
        except (OSError, ValueError):  # closed meanwhile
            line = ""
        self._results.put((key, worker, line))

    def wait(self) -> tuple[Any, dict[str, Any]]:
        """The key and the result of the next job that ends."""
        key, worker, line = self._results.get()
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
