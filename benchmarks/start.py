"""How long the quick commands take, from the shell's point of view: medians of wall time, torch not imported.

    python -m benchmarks.start [--rounds 7] [--peers DIR]

With a folder of other libraries (see `benchmarks.peers`) also what it takes to be ready to train a sparse
autoencoder, over `import torch`, and what is installed for it on top of torch: all files of the package and of
what it requires, less those that torch requires itself. Only SAELens is compared: install it whole there.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from importlib.metadata import Distribution, distributions
from pathlib import Path

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import narrows": [sys.executable, "-c", "import narrows"],
    "narrows --help": [sys.executable, "-m", "narrows", "--help"],
    "narrows list": [sys.executable, "-m", "narrows", "list"],
    "narrows paper vae": [sys.executable, "-m", "narrows", "paper", "vae"],
    "import torch": [sys.executable, "-c", "import torch"],
}
READY = {
    "import torch": "import torch",
    "narrows, ready to fit topk-sae": "import narrows as nr; nr.fit; "
    "from narrows.methods.index import builder; builder('topk-sae')",
    "import sae_lens": "import sae_lens",
}


def medians(
    commands: dict[str, list[str]], rounds: int, also: Path | None = None
) -> dict[str, tuple[float, float]]:
    """Wall and CPU seconds of each command, the rounds interleaved; one before them is not counted.

    Args:
        commands: by name.
        rounds: how many.
        also: a folder that the last command may import from.
    """
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    last = [*commands][-1]
    for number in range(rounds + 1):
        for name, command in commands.items():
            environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
            if also is not None and name == last:
                environment["PYTHONPATH"] = str(also)
            start, before = time.perf_counter(), os.times()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
            after, wall = os.times(), time.perf_counter() - start
            cpu = after.children_user + after.children_system - before.children_user - before.children_system
            if number:
                seconds[name].append((wall, cpu))
    return {
        name: (statistics.median(wall for wall, _ in times), statistics.median(cpu for _, cpu in times))
        for name, times in seconds.items()
    }


def installed(name: str, folder: Path | None = None) -> tuple[int, float]:
    """How many packages come with one on top of torch, itself included, and their size in MB (10^6 bytes)."""
    found = {_key(d.name): d for d in distributions(path=[str(folder)] if folder else sys.path)}
    here = {_key(d.name): d for d in distributions()}
    base = _closure("torch", here)
    extra = [found[one] for one in _closure(name, found) - base]
    return len(extra), sum(_size(one) for one in extra) / 1e6


def _closure(name: str, known: dict[str, Distribution]) -> set[str]:
    """A package and all that it requires, of those that are known."""
    done: set[str] = set()
    todo = [_key(name)]
    while todo:
        one = todo.pop()
        if one in done or one not in known:
            continue
        done.add(one)
        needs = [r for r in known[one].requires or () if "extra ==" not in r]
        todo += [_key(re.split(r"[^A-Za-z0-9._-]", need)[0]) for need in needs]
    return done


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _size(package: Distribution) -> int:
    paths = [Path(str(package.locate_file(file))) for file in package.files or ()]
    # Compiled files are left out: one installer makes them at once, another later.
    return sum(p.stat().st_size for p in paths if p.is_file() and p.suffix != ".pyc")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peers", type=Path)
    arguments = parser.parse_args()
    if arguments.peers is None:
        seconds = medians(COMMANDS, arguments.rounds)
        bare = seconds["python -c pass"][0]
        print("| command | seconds | over bare Python |\n|---|---|---|")
        for name, (wall, _) in seconds.items():
            print(f"| `{name}` | {wall:.3f} | {wall - bare:.3f} |")
        return
    folder = arguments.peers / "sae-lens"
    ready = {name: [sys.executable, "-c", code] for name, code in READY.items()}
    seconds = medians(ready, arguments.rounds, folder)
    torch = seconds["import torch"]
    print("| | seconds | CPU seconds | CPU over `import torch` |\n|---|---|---|---|")
    for name, (wall, cpu) in seconds.items():
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {cpu - torch[1]:.2f} |")
    print("\n| installed on top of torch | packages | MB |\n|---|---|---|")
    for name, where in (("narrows", None), ("sae-lens", folder)):
        count, size = installed(name, where)
        print(f"| {name} | {count} | {size:.0f} |")


if __name__ == "__main__":
    main()
