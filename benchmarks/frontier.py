r"""FVU and the spliced loss against L0: ours, SAELens and dictionary_learning at their defaults, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.frontier ACTS --peers DIR [--steps 1500] [--l0 8,16,32,64,128] [--out X]

ACTS is a harvest of one layer of a causal language model, such as

    narrows harvest stories260k --at resid.3 --out ACTS

Every training reads the same batches of the same rows. Each library has a process of its own, and the three take
turns, a training each, so that a busy minute of the machine falls on all alike. Ours are at defaults, with L0 as the
only option. The other libraries train by their own trainers, as `benchmarks.frontier_peers` says; DIR is that of
`benchmarks.peers`. Architectures without a target for L0 get the weight of their penalty from a first training and
the trainings before: the last columns of the second table read all at the same L0, by interpolation between the
neighbours in log L0.

FVU, L0 and the loss are of the test part, each tenth context, which no training sees. CE is the increase of the next
token's cross-entropy, in nats, where the activation is replaced by its reconstruction. Dead are latents that are
active on none of the first 200,000 training rows. Seconds are CPU time of the training alone, without imports, data,
or the evaluation.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import narrows.data as nd
from benchmarks import frontier_peers
from benchmarks.frontier_peers import STEERED, Request, Trained
from benchmarks.peers import enter
from narrows.audit.evidence.splicing import Splicer
from narrows.core import Batch, dense
from narrows.data import BatchReader
from narrows.methods.index import builder
from narrows.proofs.sparse._planted import between
from narrows.train import optimise, training_mode

ARCHITECTURES = ("topk", "batchtopk", "matryoshka", "jumprelu", "gated", "relu")
LIBRARIES = {"narrows": "", "SAELens": "sae-lens", "dictionary_learning": "dictionary-learning"}
ROWS = 200_000
TOKENS = 8_192
"""Test tokens on which the loss is measured."""


def ours(request: Request, source: nd.Source) -> Trained:
    """Train a method of ours at defaults."""
    counted = request.architecture in ("topk", "batchtopk", "matryoshka")
    wanted: dict[str, Any] = {"k": request.l0} if counted else {"price_target": f"l0={request.l0}"}
    torch.manual_seed(request.seed)
    model = builder(f"{request.architecture}-sae")(source.spec, latents=request.latents, **wanted)
    begun = time.process_time()
    optimise(model, source.train, steps=request.steps, batch_size=request.batch, seed=request.seed)
    seconds = time.process_time() - begun
    return Trained(lambda x: dense(model.encode(Batch(x)).z), lambda x: model.reconstruct(Batch(x)), seconds)


class Spliced(torch.nn.Module):
    """The reconstructions of any library's autoencoder, as the splicer calls a model."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.trained = trained

    def reconstruct(self, batch: Batch) -> Tensor:
        """The reconstructions (B, D) of a batch."""
        return self.trained.reconstruct(batch.x)


@torch.no_grad()
def measured(trained: Trained, source: nd.Source, splicer: Splicer) -> dict[str, float]:
    """L0, FVU, the increase of the loss, and dead latents."""
    x = source.test.all().x
    parts = x.split(4096)
    on = sum(float((trained.encode(part) != 0).sum()) for part in parts)
    error = sum(float((trained.reconstruct(part) - part).square().sum()) for part in parts)
    rows = torch.arange(min(len(source.train), ROWS)).split(4096)
    fired = torch.stack([(trained.encode(source.train.batch(some).x) != 0).any(0) for some in rows]).any(0)
    loss = splicer(Spliced(trained)).means()  # type: ignore[arg-type]
    return {
        "reached": on / len(x),
        "fvu": error / float((x - x.mean(0)).square().sum()),
        "ce": loss["ce/spliced"] - loss["ce/original"],
        "dead": float((~fired).sum()),
        "seconds": trained.seconds,
    }


def serve(library: str, arguments: argparse.Namespace) -> None:
    """Train and measure what each line of stdin asks for. What a library prints goes to nowhere."""
    speak = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    source = nd.open(arguments.acts, scale="none")
    splicer = Splicer.of(source.test, tokens=TOKENS)
    if splicer is None:
        raise SystemExit(f"{arguments.acts} is not a harvest of one layer of a causal language model.")
    (width,) = source.spec.shape
    if LIBRARIES[library]:
        enter(arguments.peers, LIBRARIES[library])
    for line in sys.stdin:
        request = Request(**json.loads(line))
        feed = BatchReader(source.train, request.batch, request.seed)
        train = partial(ours, source=source)
        if library != "narrows":
            peer = {"SAELens": frontier_peers.sae_lens}.get(library, frontier_peers.dictionary_learning)
            train = partial(peer, batch=lambda step, feed=feed: feed.at(step).x, width=width)
        with training_mode():
            trained = train(request)
        print(json.dumps(measured(trained, source, splicer)), file=speak, flush=True)


class Weight:
    """The weight of a penalty for the next L0, from the trainings before: log L0 is linear in its logarithm."""

    def __init__(self, first: float) -> None:
        self.points: list[tuple[float, float]] = []
        self.first = first

    def of(self, l0: float) -> float:
        """A weight for an L0; by the nearest two trainings, or by the nearest with L0 inverse to the weight."""
        if not self.points:
            return self.first
        near = sorted(self.points, key=lambda point: abs(math.log(point[1] / l0)))[:2]
        (weight, got), slope = near[0], -1.0
        if len(near) == 2 and near[1][0] != weight and near[1][1] != got:
            slope = math.log(near[1][1] / got) / math.log(near[1][0] / weight)
        step = math.log(l0 / got) / min(-0.3, max(-3.0, slope))
        return weight * math.exp(min(3.0, max(-3.0, step)))

    def add(self, weight: float, l0: float) -> None:
        """Note what a training has reached."""
        self.points.append((weight, max(l0, 0.1)))


def collect(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Ask the libraries in turn; returns a row for each training."""
    command = [sys.executable, "-m", "benchmarks.frontier", *sys.argv[1:], "--serve"]
    running = {
        name: subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in (LIBRARIES if arguments.peers else ["narrows"])
    }
    weights = {(a, b): Weight(first) for a, found in STEERED.items() for b, first in found.items()}
    levels = [int(one) for one in arguments.l0.split(",")]
    order = [levels[len(levels) // 2], *levels]  # the first is a trial of the weights alone
    rows: list[dict[str, Any]] = []
    for turn, l0 in enumerate(order):
        for architecture in arguments.architectures.split(","):
            for library, process in running.items():
                weight = weights.get((library, architecture))
                if turn == 0 and weight is None:
                    continue
                value = 0.0 if weight is None else weight.of(l0)
                sizes = (arguments.latents, arguments.steps, arguments.batch, arguments.seed)
                request = Request(architecture, l0, value, *sizes, arguments.rate)
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(json.dumps(asdict(request)) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
                if not line:
                    raise SystemExit(f"The process of {library} has ended; its error is above.")
                row = {"library": library, **asdict(request), **json.loads(line)}
                if weight is not None:
                    weight.add(value, row["reached"])
                rows.append(row)
                if arguments.out:
                    arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
                print(one_line(row), flush=True)
    for process in running.values():
        process.communicate()
    return rows


def one_line(row: dict[str, Any]) -> str:
    """A row of the first table."""
    weight = f"{row['weight']:.3g}" if row["weight"] else ""
    return (
        f"| {row['library']} | {row['architecture']} | {row['l0']} | {weight} | {row['reached']:.1f} "
        f"| {row['fvu']:.4f} | {row['ce']:.3f} | {row['dead']:.0f} | {row['seconds']:.1f} |"
    )


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """The table of FVU and CE at equal L0, a line for each architecture and library."""
    levels = sorted({row["l0"] for row in rows})
    heads = " | ".join(f"L0 {l0}: FVU, CE" for l0 in levels)
    lines = [f"| architecture | library | {heads} | most dead | seconds |"]
    lines.append("|---|---|" + "---|" * (len(levels) + 2))
    for architecture in dict.fromkeys(row["architecture"] for row in rows):
        for library in dict.fromkeys(row["library"] for row in rows):
            own = [r for r in rows if (r["architecture"], r["library"]) == (architecture, library)]
            points = [{"l0": r["reached"], "fvu": r["fvu"], "ce": r["ce"]} for r in own]
            on = [p["l0"] for p in points]
            cells = []
            for l0 in levels:
                # A frontier is read up to a twentieth beyond its ends.
                inside = min(on) / 1.05 <= l0 <= max(on) * 1.05
                cells.append(
                    f"{between(points, 'fvu', l0):.4f}, {between(points, 'ce', l0):.3f}" if inside else "–"
                )
            dead = max(r["dead"] for r in own)
            seconds = sum(r["seconds"] for r in own) / len(own)
            lines.append(f"| {architecture} | {library} | {' | '.join(cells)} | {dead:.0f} | {seconds:.1f} |")
    return lines


def main() -> None:
    """Run and print."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("acts", help="a harvest of one layer of a causal language model")
    parser.add_argument("--peers", type=Path, help="a folder of the other libraries: see benchmarks/peers.py")
    parser.add_argument("--out", type=Path, help="a .json for all rows")
    parser.add_argument("--l0", default="8,16,32,64,128")
    parser.add_argument("--architectures", default=",".join(ARCHITECTURES))
    parser.add_argument(
        "--rate", type=float, default=1e-3, help="learning rate of the other libraries; 0 for their own"
    )
    for option, default in {"latents": 512, "steps": 1500, "batch": 512, "seed": 0}.items():
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments)
        return
    print("| library | architecture | L0 wanted | weight | L0 | FVU | CE | dead | CPU s |")
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n" + "\n".join(summary(collect(arguments))))


if __name__ == "__main__":
    main()
