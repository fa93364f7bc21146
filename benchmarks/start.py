"""How long the quick commands take, from the shell's point of view: medians of wall time, torch not imported.

python -m benchmarks.start [--rounds 7]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import narrows": [sys.executable, "-c", "import narrows"],
    "narrows --help": [sys.executable, "-m", "narrows", "--help"],
    "narrows list": [sys.executable, "-m", "narrows", "list"],
    "narrows paper vae": [sys.executable, "-m", "narrows", "paper", "vae"],
    "import torch": [sys.executable, "-c", "import torch"],
}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    bare = statistics.median(seconds["python -c pass"])
    print("| command | seconds | over bare Python |\n|---|---|---|")
    for name, times in seconds.items():
        print(f"| `{name}` | {statistics.median(times):.3f} | {statistics.median(times) - bare:.3f} |")


if __name__ == "__main__":
    main()
