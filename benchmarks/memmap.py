"""A fit over a file that is larger than it may be in memory: the peak of resident memory, and the rate.

    python -m benchmarks.memmap [--gib 4] [--epochs 1] [--folder /tmp]

The file is sparse (it takes no space on disk) with a little noise at 64 places, float32, 512 columns. An autoencoder
512-64-8 is fitted through the trainer in a process of its own, and that process says what it took. The bound is 1 GiB
in all: importing torch alone takes about a fifth of it.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WIDTH = 512


def make(path: Path, gib: float) -> None:
    """Write the file: zeros that are not stored, and 64 runs of standard normal rows."""
    rows = int(gib * (1 << 30)) // (4 * WIDTH)
    x = np.lib.format.open_memmap(path, "w+", np.float32, (rows, WIDTH))
    rng = np.random.default_rng(0)
    for start in np.linspace(0, rows - 256, 64).astype(int):
        x[start : start + 256] = rng.standard_normal((256, WIDTH), dtype=np.float32)
    x.flush()


def fit(path: Path, epochs: int) -> None:
    """In the child: open, fit, and print what it took."""
    import torch

    import narrows.data
    from narrows.methods.regularised.ae import ae
    from narrows.train import optimise

    imported = peak()
    source = narrows.data.open(path)
    torch.manual_seed(0)
    model = ae(source.spec, latent=8, net="mlp:64", likelihood="squared")
    begun = time.perf_counter()
    records = optimise(model, source.train, epochs=epochs, batch_size=2048)
    seconds = time.perf_counter() - begun
    size = source.train.x.nbytes * epochs / (1 << 30)
    print(
        f"file {path.stat().st_size / (1 << 30):.1f} GiB on {path.stat().st_blocks * 512 / (1 << 20):.0f} MiB of disk"
    )
    print(
        f"read {size:.1f} GiB in {seconds:.0f} s: {size * 1024 / seconds:.0f} MiB/s, {len(records)} records"
    )
    print(f"peak resident memory {peak():.0f} MiB, of which {imported:.0f} MiB are the imports")
    if peak() >= 1024:
        sys.exit("FAILED: the bound is 1024 MiB")


def peak() -> float:
    """The peak of this process's resident memory so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Make the file, measure a child process, delete the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gib", type=float, default=4.0)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--child", type=Path, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        fit(given.child, given.epochs)
        return 0
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "large.npy"
        make(path, given.gib)
        command = [
            sys.executable,
            "-m",
            "benchmarks.memmap",
            "--child",
            str(path),
            "--epochs",
            str(given.epochs),
        ]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
