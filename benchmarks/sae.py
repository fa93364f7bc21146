"""A training step of the TopK SAE: ours, the bare loops of the same maths, and other libraries, interleaved.

    OMP_NUM_THREADS=1 python -m benchmarks.sae --peers DIR

Each variant runs in a process of its own, a round of it after a round of each other; the table says CPU time (see
`benchmarks.apart`). Ours is `topk-sae` as a user trains it: the engine of `narrows fit` with hooks, metrics,
checkpoints and a progress display, idle counts on. Dense is what one writes from the paper in an hour: all
pre-activations kept, a dense code times the dictionary, gradients through both, the same projection and
renormalisation of the atoms. The two sparse bare loops are ours without the trainer, by both paths of
`narrows.kernels.sparse`. The other libraries are those of `benchmarks.peers`, which also says how DIR is made; one
that is not there is skipped. All use Adam, see the same batches from the same start, and flush denormals.

The losses say where the maths is the same: the bare loops and ours to the last but one digit of float32. SAELens and
overcomplete hold their atoms otherwise, and all but sparsify clip the gradient: their losses part after the first
steps. Memory is the peak of the variant's process (data and imports included).
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path as FilePath

import numpy as np
import torch
from torch import Tensor

import narrows.data
from benchmarks.apart import Variant, measure, ratio, serve
from benchmarks.peers import PEERS, Start, enter
from benchmarks.trainer import ours
from narrows.core import Autoencoder, Batch
from narrows.data import BatchReader
from narrows.kernels.sparse import Path, decode
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.train import training_mode

Forward = Callable[[Autoencoder, Tensor], Tensor]
RATE = 3e-4


def network(arguments: argparse.Namespace) -> Autoencoder:
    """The model that all variants train; no latent counts as dead, so that the maths is the plain one's."""
    torch.manual_seed(0)
    return topk_sae(
        (arguments.width,),
        latents=arguments.latents,
        k=arguments.k,
        dead="auxk:dead_after=1000000000",
        normalise=False,
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


def bare(forward: Forward, source: narrows.data.Source, arguments: argparse.Namespace) -> Iterator[float]:
    """A loop without a trainer."""
    model = network(arguments)
    feed = BatchReader(source.train, arguments.batch)
    with torch.no_grad():
        model.decoder.prepare(model, first(source))
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    atoms, step = model.decoder.atoms, 0
    while True:
        losses = []
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
            losses.append(loss.detach())
        yield float(torch.stack(losses).mean())


def through_the_trainer(source: narrows.data.Source, arguments: argparse.Namespace) -> Iterator[float]:
    """The engine of `narrows fit`."""
    # A checkpoint is due every 20 seconds of training; ours is held still for most of the time.
    pace = 20.0 * (3 + len(PEERS))
    settings = {"batch_size": arguments.batch, "checkpoint_seconds": pace, "lr": RATE}
    return ours(source, arguments.steps, partial(network, arguments), **settings)


def first(source: narrows.data.Source) -> Batch:
    """The batch that the trainer would prepare a model with."""
    rows = torch.randperm(len(source.train), generator=torch.Generator().manual_seed(0))
    return source.train.batch(rows[:4096].sort().values)


def peer(name: str, source: narrows.data.Source, arguments: argparse.Namespace) -> Iterator[float]:
    """Another library's step, from our start."""
    folder, rounds = PEERS[name]
    enter(arguments.peers, folder)
    model = network(arguments)
    with torch.no_grad():
        model.decoder.prepare(model, first(source))
    feed = BatchReader(source.train, arguments.batch)
    weight, centre = model.encoder.weight.detach(), model.decoder.bias.detach()
    return rounds(Start(weight, centre, lambda step: feed.at(step).x, arguments.k, arguments.steps, RATE))


def variants(arguments: argparse.Namespace) -> dict[str, Variant]:
    """All that is compared, by name; nothing is built before it is called."""
    rng = np.random.default_rng(0)
    rows = int((arguments.steps + 0.5) * arguments.batch / 0.9)  # a round is an epoch
    x = rng.standard_normal((rows, arguments.width), dtype=np.float32)
    source = narrows.data.open(x, scale="none", split=0.1)
    loops: dict[str, Variant] = {
        "narrows": partial(through_the_trainer, source, arguments),
        "bare sparse (bag)": partial(bare, partial(sparse, path="bag"), source, arguments),
        "bare sparse (index_add)": partial(bare, partial(sparse, path="index_add"), source, arguments),
        "bare dense": partial(bare, dense, source, arguments),
    }
    if arguments.peers is not None:
        loops |= {name: partial(peer, name, source, arguments) for name in PEERS}
    return loops


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = {"rounds": 4, "steps": 12, "latents": 6144, "k": 32, "batch": 2048, "width": 384}
    for option, default in sizes.items():
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument(
        "--peers", type=FilePath, help="a folder of the other libraries: see benchmarks/peers.py"
    )
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    made = variants(arguments)
    if arguments.only:
        with training_mode():
            serve(made, arguments.only)
        return
    measured = measure("benchmarks.sae", list(made), sys.argv[1:], arguments.rounds)
    base = measured["narrows"].cpu
    print("| step | CPU ms (median) | x narrows (range) | loss, first and last round | peak memory, MB |")
    print("|---|---|---|---|---|")
    for name, one in measured.items():
        ms = statistics.median(one.cpu) / arguments.steps * 1e3
        losses = f"{one.loss[0]:.4f}, {one.loss[-1]:.4f}"
        print(f"| {name} | {ms:.0f} | {ratio(one.cpu, base)} | {losses} | {one.peak:.0f} |")


if __name__ == "__main__":
    main()
