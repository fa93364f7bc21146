"""Which sparse method finds the dictionary that made the data? All of them, on one world, at equal steps.

The world: 256 random unit atoms in 64 dimensions, each on with probability 0.02 (5.1 at once), coefficients uniform
from 0.5 to 1.5, no noise. Every method gets 256 latents and, by `k` or by its controller of L0, 5 of them at once;
all else is its default. World and initialisation come from different generators and seeds: drawn from one, a model
begins at the truth and scores .998 untrained.

    python -m benchmarks.truth [--steps 1000] [--seeds 2] [--methods topk-sae,relu-sae]
"""

import argparse
import inspect
import statistics
import time
from functools import lru_cache

import torch

import narrows.data as nd
from narrows.audit import audit
from narrows.core import as_spec
from narrows.core.check import NarrowsError
from narrows.methods import index
from narrows.train import optimise

WIDTH, ATOMS, L0, LATENTS, K = 64, 256, 5.12, 256, 5
COLUMNS = {
    "MCC": "recovery/mcc",
    "mean max cosine": "recovery/mean-max-cosine",
    "F1": "recovery/f1",
    "dead": "latents/dead",
    "L0": "l0",
    "FVU": "fvu",
}


def options(name: str, steps: int) -> dict[str, object]:
    """What a method is told: the width, five latents at once, and a schedule that ends within the budget."""
    known = inspect.signature(index.builder(name)).parameters
    told: dict[str, object] = (
        {"latents": LATENTS, "k": K} if "k" in known else {"latents": LATENTS, "price_target": f"l0={K}"}
    )
    if name == "p-anneal-sae":
        told["p"] = f"linear:1:0.2:{steps * 2 // 3}"  # its default ends after 2000 steps
    return {key: value for key, value in told.items() if key in known}


@lru_cache(maxsize=4)
def world(seed: int):
    """The data of a seed."""
    return nd.open("dictionary", n=100_000, tests=4_000, d=WIDTH, atoms=ATOMS, l0=L0, seed=1000 + seed)


def measured(build, seed: int, steps: int, batch_size: int) -> dict[str, float]:
    """Train one model on the world of a seed and ask the audit."""
    source = world(seed)
    torch.manual_seed(seed)
    model = build(source)
    began = time.process_time()
    optimise(model, source.train, steps=steps, batch_size=batch_size, lr=1e-3, seed=seed)
    seconds = time.process_time() - began
    report = audit(model, source.test, limit=4_000)
    found = {title: report[name].value for title, name in COLUMNS.items()}
    return {**found, "CPU s": seconds}


def from_truth(source):
    """A TopK autoencoder that begins at the truth: what is left to lose."""
    model = index.builder("topk-sae")(source.spec, latents=LATENTS, k=K)
    atoms = torch.as_tensor(source.truth.atoms, dtype=torch.float32)
    with torch.no_grad():
        model.encoder.weight.copy_(atoms)
        model.decoder.atoms.copy_(atoms)
    return model


def contenders(names: list[str], steps: int):
    """Every method with its builder for a source, the ones that do not take vectors left out with the reason."""
    for name in names:
        told = options(name, steps)
        try:
            index.builder(name)(as_spec(WIDTH), **told)
        except NarrowsError as error:
            print(f"- {name} is left out: {reason(error)}")
            continue
        yield name, lambda source, name=name, told=told: index.builder(name)(source.spec, **told)
    yield "(topk-sae from the truth)", from_truth


def reason(error: Exception) -> str:
    """The first sentence."""
    return str(error).split(". ")[0].split("\n")[0].rstrip(".") + "."


def row(name: str, runs: list[dict[str, float]]) -> str:
    """A line of the table: means, and half the range over the seeds."""
    cells = []
    for title in runs[0]:
        values = [run[title] for run in runs]
        spread = (max(values) - min(values)) / 2
        mean = statistics.mean(values)
        cells.append(f"{mean:.0f}" if title in ("dead", "CPU s") else f"{mean:.3f} ± {spread:.3f}")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table, the best first."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--methods", default="")
    args = parser.parse_args()
    names = args.methods.split(",") if args.methods else [m.name for m in index.in_family("sparse")]
    rows = []
    for name, build in contenders(names, args.steps):
        try:
            runs = [measured(build, seed, args.steps, args.batch_size) for seed in range(args.seeds)]
        except (NarrowsError, RuntimeError) as error:
            print(f"- {name} is left out: {reason(error)}", flush=True)
            continue
        rows.append((statistics.mean(run["MCC"] for run in runs), row(name, runs)))
        print(rows[-1][1], flush=True)
    titles = ["method", *COLUMNS, "CPU s"]
    print("\n| " + " | ".join(titles) + " |\n|" + "---|" * len(titles))
    for _, text in sorted(rows, reverse=True):
        print(text)


if __name__ == "__main__":
    main()
