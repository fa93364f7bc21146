"""Our sparse architectures beside each other at defaults, over seeds: FVU, L0, dead latents, seconds.

    OMP_NUM_THREADS=1 python -m benchmarks.architectures ACTS --latents 512 [--l0 16] [--seeds 0,1,2] [--lr 1e-3]

ACTS is a harvest of one layer (`narrows harvest`). The option for L0 (`k`, or `price_target`) and the number of latents
are the only options of the methods, and the learning rate if `--lr` is given. They take turns, a training each, seed
after seed, in one process. FVU and L0 are of the test part, which no training sees. Dead are latents that are active on
none of the first 200,000 training rows. Seconds are CPU time of the training alone. A cell is the mean over the seeds
and, after ±, their standard deviation; the last two columns are ratios to the first method, of the means.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

import narrows.data as nd
from narrows.core import Autoencoder, Batch, dense
from narrows.core.evidence import Latents
from narrows.methods.index import builder
from narrows.train import optimise

METHODS = ("batchtopk-sae", "topk-sae", "jumprelu-sae", "gated-sae", "relu-sae")
ROWS = 200_000
FIGURES = {"fvu": ".4f", "l0": ".1f", "dead": ".0f", "seconds": ".1f"}


def trained(
    source: nd.Source, method: str, seed: int, arguments: argparse.Namespace
) -> tuple[Autoencoder, float]:
    """A method at defaults, and the CPU seconds of its training."""
    counted = method in ("topk-sae", "batchtopk-sae", "matryoshka-sae")
    wanted: dict[str, Any] = {"k": arguments.l0} if counted else {"price_target": f"l0={arguments.l0}"}
    torch.manual_seed(seed)
    model = builder(method)(source.spec, latents=arguments.latents, **wanted)
    begun = time.process_time()
    options = {"steps": arguments.steps, "batch_size": arguments.batch, "lr": arguments.lr}
    optimise(model, source.train, seed=seed, **options)
    return model, time.process_time() - begun


@torch.no_grad()
def measured(model: Autoencoder, source: nd.Source) -> dict[str, float]:
    """FVU and L0 on the test part, and latents that no training row activates, of how many rows."""
    x = source.test.all().x
    error = on = 0.0
    for part in x.split(4096):
        on += float((dense(model.encode(Batch(part))[Latents].z) != 0).sum())
        error += float((model.reconstruct(Batch(part)) - part).square().sum())
    rows = torch.arange(min(len(source.train), ROWS))
    codes = (dense(model.encode(source.train.batch(some))[Latents].z) for some in rows.split(4096))
    fired = torch.stack([(z != 0).any(0) for z in codes]).any(0)
    fvu = error / float((x - x.mean(0)).square().sum())
    return {"fvu": fvu, "l0": on / len(x), "dead": float((~fired).sum()), "rows": float(len(rows))}


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each method: mean and standard deviation over the seeds."""
    lines = [f"| method | {' | '.join(FIGURES)} | FVU / first | seconds / first |", "|---|" + "---|" * 6]
    first: dict[str, float] = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        means = {name: statistics.fmean(row[name] for row in own) for name in FIGURES}
        first = first or means
        cells = [
            f"{means[name]:{form}} ± {statistics.stdev(row[name] for row in own) if own[1:] else 0:{form}}"
            for name, form in FIGURES.items()
        ]
        ratios = [f"{means[name] / first[name]:.2f}" for name in ("fvu", "seconds")]
        lines.append(f"| `{method}` | {' | '.join([*cells, *ratios])} |")
    return lines


def main() -> None:
    """Run and print."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("acts", help="a harvest of one layer")
    parser.add_argument("--out", type=Path, help="a .json for all rows")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--lr", type=float, help="the learning rate; each method's default if not given")
    for option, default in {"latents": 512, "l0": 16, "steps": 1500, "batch": 512}.items():
        parser.add_argument(f"--{option}", type=int, default=default)
    arguments = parser.parse_args()
    source = nd.open(arguments.acts, scale="none")
    optimise(
        builder("relu-sae")(source.spec, latents=64), source.train, steps=5
    )  # what only a first training costs
    rows: list[dict[str, Any]] = []
    for seed in arguments.seeds.split(","):
        for method in arguments.methods.split(","):
            model, seconds = trained(source, method, int(seed), arguments)
            rows.append({"method": method, "seed": int(seed), **measured(model, source), "seconds": seconds})
            print(json.dumps(rows[-1]), flush=True)
            if arguments.out:
                arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    print("\n" + "\n".join(summary(rows)))


if __name__ == "__main__":
    main()
