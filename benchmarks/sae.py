"""A training step of the TopK SAE through our trainer, against the bare dense loop of the same maths, interleaved.

    python -m benchmarks.sae [--rounds 5] [--steps 10] [--latents 6144] [--k 32] [--batch 2048] [--width 384]

Ours is `topk-sae` as a user trains it: the engine of `narrows fit` with hooks, metrics, checkpoints and a progress
display, idle counts on. Dense is what one writes from the paper in an hour: all pre-activations kept, a dense code
times the dictionary, gradients through both, the same projection and renormalisation of the atoms. The two sparse
bare loops are ours without the trainer, by both paths of `narrows.kernels`. All use the fused Adam, flush denormals
and see the same batches from the same start; their losses must agree. Memory is the peak of a process of its own
that does nothing but this variant (data included); `torch alone` is the least a process takes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path as FilePath

import numpy as np
import torch
from torch import Tensor

import narrows.data
from benchmarks.trainer import measure, ours, table
from narrows.core import Autoencoder, Batch
from narrows.data import Feed
from narrows.kernels import Path, decode
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.train import training_mode

Forward = Callable[[Autoencoder, Tensor], Tensor]


def network(arguments: argparse.Namespace) -> Autoencoder:
    """The model that all variants train; no latent counts as dead, so that the maths is the plain one's."""
    torch.manual_seed(0)
    return topk_sae(
        (arguments.width,), latents=arguments.latents, k=arguments.k, dead_after=10**9, normalise=False
    )


def dense(model: Autoencoder, x: Tensor) -> Tensor:
    """The reconstruction with a dense code."""
    encoder, atoms = model.encoder, model.decoder.atoms
    pre = torch.addmm(encoder.bias, x - model.decoder.bias, encoder.weight.T)
    values, indices = pre.topk(model.bottleneck.k, sorted=False)
    return torch.zeros_like(pre).scatter(1, indices, values.relu()) @ atoms + model.decoder.bias


def sparse(model: Autoencoder, x: Tensor, path: Path) -> Tensor:
    """The reconstruction by the sparse kernels."""
    code = model.encoder(x).top(model.bottleneck.k, path)
    return decode(replace(code, values=code.values.relu()), model.decoder.atoms, path) + model.decoder.bias


def bare(forward: Forward, source: narrows.data.Source, arguments: argparse.Namespace) -> Iterator[None]:
    """A loop without a trainer."""
    model = network(arguments)
    feed = Feed(source.train, arguments.batch)
    with torch.no_grad():
        model.decoder.prepare(model, start(source))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    atoms, step = model.decoder.atoms, 0
    while True:
        with training_mode():
            for _ in range(arguments.steps):
                x = feed.at(step).x
                loss = (x - forward(model, x)).square().sum(1).mean()
                loss.backward()
                with torch.no_grad():
                    atoms.grad -= (atoms.grad * atoms).sum(1, keepdim=True) * atoms
                optimizer.step()
                optimizer.zero_grad()
                with torch.no_grad():
                    atoms /= atoms.norm(dim=1, keepdim=True)
                step += 1
        LOSSES[forward] = float(loss.detach())
        yield


LOSSES: dict[Forward, float] = {}


def start(source: narrows.data.Source) -> Batch:
    """The batch that the trainer would prepare a model with."""
    rows = torch.randperm(len(source.train), generator=torch.Generator().manual_seed(0))
    return source.train.batch(rows[:4096].sort().values)


def variants(arguments: argparse.Namespace) -> dict[str, Callable[[], Iterator[None]]]:
    """All that is compared, by name; nothing is built before it is called."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((10 * arguments.batch, arguments.width), dtype=np.float32)
    source = narrows.data.open(x, scale="none", split=0.1)
    loops: dict[str, Forward] = {
        "bare dense": dense,
        "bare sparse (bag)": partial(sparse, path="bag"),
        "bare sparse (index_add)": partial(sparse, path="index_add"),
    }
    made = {name: partial(bare, forward, source, arguments) for name, forward in loops.items()}
    # A checkpoint is due every 20 seconds of training; ours is held still for about seven eighths of the time.
    build, pace = partial(network, arguments), {"batch_size": arguments.batch, "checkpoint_seconds": 160.0}
    trainer = partial(ours, source, arguments.steps, build, **pace)
    return {"bare dense": made.pop("bare dense"), "narrows": trainer, **made}


def peak(name: str, argv: list[str]) -> float:
    """The peak memory (MB) of a process that trains one variant alone."""
    command = [sys.executable, "-m", "benchmarks.sae", *argv, "--only", name]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(out.strip().splitlines()[-1])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for option, default in (
        ("rounds", 5),
        ("steps", 10),
        ("latents", 6144),
        ("k", 32),
        ("batch", 2048),
        ("width", 384),
    ):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        if arguments.only != "torch alone":
            one = variants(arguments)[arguments.only]()
            next(one)
        # Not getrusage: it also counts what the parent had in memory when this process began.
        status = FilePath("/proc/self/status").read_text()
        print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
        return
    running = {name: make() for name, make in variants(arguments).items()}
    print(table(measure(running, arguments.rounds), arguments.steps, "bare dense"))
    print("\nLosses of the bare loops:", ", ".join(f"{loss:.5f}" for loss in LOSSES.values()))
    print("\n| variant | peak memory, MB |\n|---|---|")
    for name in ("torch alone", *running):
        print(f"| {name} | {peak(name, sys.argv[1:]):.0f} |", flush=True)


if __name__ == "__main__":
    main()
