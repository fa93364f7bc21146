"""A worker process: reads jobs from its standard input, one a line, and writes their results to its output.

It ends with the process that started it, in the middle of a job too: the end of its input is noticed by a thread.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from queue import Queue

__all__ = ["main"]


def main() -> None:
    """Do jobs until the input ends."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is not a result
    jobs: Queue[str] = Queue()
    threading.Thread(target=_read, args=(jobs,), daemon=True).start()
    import torch

    from narrows.tournament.work import perform

    torch.set_num_threads(1)
    while True:
        result = perform(json.loads(jobs.get()))
        out.write(json.dumps(result) + "\n")
        out.flush()


def _read(jobs: Queue[str]) -> None:
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)  # a run that is being trained continues from its last checkpoint


if __name__ == "__main__":
    main()
