r"""Our quantisers against vector-quantize-pytorch, EnCodec and DAC, and a VQ step with one-hot vectors.

    OMP_NUM_THREADS=1 python -m benchmarks.quantised --peers DIR [--case lfq-8192] [--rounds 3]

16 x 1024 tokens of width 64, forward and backward, with the update of the codebook, straight-through, no restarts;
of `encode-8x1024`, the residual codes of a second of sound, 75 frames of width 128. DIR is a virtual environment with
the peers (`pip install torch==2.13.0 vector-quantize-pytorch==1.32.0`, and without their dependencies
`encodec==0.1.1` and `descript-audio-codec==1.0.0`); `benchmarks/quantised_peers.py` says what of them is called. Each
variant is a process of its own with one thread, and rounds are interleaved. CPU time is that of the process; memory
its peak beyond that before the first step. `one-hot` is the VQ step as it is usually written, with an N x K table of
distances and one of one-hot vectors.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import apart
from benchmarks.quantised_peers import BITS, CODES, DEPTH, FRAMES, ROUNDS, SOUND, WIDTH, repeated, tokens
from narrows.bottlenecks.discrete.binary import BinaryQuantizer
from narrows.bottlenecks.discrete.quantizer import Quantizer
from narrows.bottlenecks.discrete.residual import ResidualQuantizer
from narrows.bottlenecks.discrete.vq import VectorQuantizer
from narrows.core import Pass

PEER = "vector-quantize-pytorch"
CASES = {
    "vq-1024": (PEER, "one-hot"),
    "vq-8192": (PEER, "one-hot"),
    "rvq-8x1024": (PEER,),
    "lfq-8192": (PEER,),
    "simvq-8192": (PEER,),
    "encode-8x1024": ("encodec", "dac"),
}
"""The rivals of each case."""


def trained(module: Quantizer, x: Tensor) -> Callable[[], None]:
    """A training step of ours."""
    module.train()

    def step() -> None:
        leaf = x.clone().requires_grad_()
        code = module(leaf)
        loss = code.z.sum() + 0.25 * sum(cost.sum() for cost in code.costs.values())
        if isinstance(module, BinaryQuantizer):
            loss = loss + module.diversity(leaf)
        loss.backward()
        with torch.no_grad():
            module.after_step(Pass(None, code))

    return step


def ours(case: str) -> Iterator[float]:
    """Our quantiser of a case."""
    x = tokens(BITS if case == "lfq-8192" else WIDTH)
    length, ema = x.shape[1], "ema:restart=0,start=normal"
    if case.startswith("vq"):
        vq = VectorQuantizer(WIDTH, codes=int(case.split("-")[1]), tokens=length, codebook=ema)
        vq.book.codebook.copy_(x.flatten(0, 1)[: vq.codes])
        vq.book.sums.copy_(vq.book.codebook)
        return repeated(case, trained(vq, x))
    if case == "rvq-8x1024":
        rq = ResidualQuantizer(WIDTH, codes=CODES, tokens=length, depth=DEPTH, shared=False, codebook=ema)
        return repeated(case, trained(rq, x))
    if case == "lfq-8192":
        return repeated(case, trained(BinaryQuantizer(BITS, bits=BITS, tokens=length), x))
    if case == "simvq-8192":
        return repeated(
            case, trained(VectorQuantizer(WIDTH, codes=2**BITS, tokens=length, codebook=SIMVQ), x)
        )
    sound = ResidualQuantizer(
        SOUND, codes=CODES, tokens=FRAMES, depth=DEPTH, shared=False, codebook="ema:start=normal"
    ).eval()
    frames = torch.randn(1, FRAMES, SOUND)
    return repeated(case, torch.no_grad()(lambda: sound.to_symbols(sound(frames))))


SIMVQ = "linear:bias=no"
"""The kind of codebook of SimVQ."""


def one_hot(case: str, decay: float = 0.99, eps: float = 1e-5) -> Iterator[float]:
    """A VQ step with one-hot vectors."""
    x = tokens().flatten(0, 1)
    codes = int(case.split("-")[1])
    state = {"e": x[:codes].clone(), "counts": torch.ones(codes), "sums": x[:codes].clone()}

    def step() -> None:
        leaf, e = x.clone().requires_grad_(), state["e"]
        away = leaf.detach().square().sum(1, keepdim=True) - 2 * leaf.detach() @ e.T + e.square().sum(1)
        hot = torch.nn.functional.one_hot(away.argmin(1), codes).to(x.dtype)
        q = hot @ e
        ((leaf + (q - leaf).detach()).sum() + 0.25 * (leaf - q).square().sum()).backward()
        state["counts"].lerp_(hot.sum(0), 1 - decay)
        state["sums"].lerp_(hot.T @ x, 1 - decay)
        total = state["counts"].sum()
        state["e"] = state["sums"] / (total * (state["counts"] + eps) / (total + codes * eps))[:, None]

    return repeated(case, step)


def table(case: str, measured: dict[str, apart.Measured]) -> list[str]:
    """A row for each variant."""
    steps = ROUNDS.get(case, 1)
    base = measured["narrows"]
    return [
        f"| {case} | {name} | {statistics.median(m.cpu) / steps * 1e3:.2f} | {apart.ratio(m.cpu, base.cpu)} | "
        f"{m.loss[-1]:.0f} |"
        for name, m in measured.items()
    ]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, help="virtual environment with the peers")
    parser.add_argument("--case", action="append", choices=sorted(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    chosen = [case for case in CASES if case in (given.case or CASES)]
    if given.only:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        (case,) = chosen
        apart.serve({"narrows": lambda: ours(case), "one-hot": lambda: one_hot(case)}, given.only)
        return
    print("| case | variant | CPU ms | x `narrows` (range) | memory, MB |", "|---|---|---|---|---|", sep="\n")
    for case in chosen:
        rivals = [name for name in CASES[case] if given.peers or name == "one-hot"]
        elsewhere = {
            name: (str(given.peers / "bin" / "python"), "benchmarks.quantised_peers")
            for name in rivals
            if name != "one-hot"
        }
        names, argv = ["narrows", *rivals], ["--case", case]
        measured = apart.measure("benchmarks.quantised", names, argv, given.rounds, elsewhere)
        print("\n".join(table(case, measured)), flush=True)


if __name__ == "__main__":
    main()
