"""Which sparse method finds the dictionary that made the data? All of them, on four worlds, at equal steps.

Each world has 60 or 64 random unit atoms in 32 dimensions, of which some three are on, with coefficients uniform from
0.5 to 1.5 and no noise:

- ``plain``: all atoms equally often, independently;
- ``correlated``: groups of 8 atoms whose Gaussians have a correlation of 0.8;
- ``hierarchical``: 12 parents, of which each has 4 children that come only with it, in 80 % of its examples;
- ``heavy-tailed``: the i-th atom in proportion to 1 / i.

Every method gets 64 latents and, by `k` or by its controller of L0, 3 of them at once; all else is its default. A
method that reads layers, a target, pairs or gradients gets the world in that form: `benchmarks.given`. World and
initialisation come from different generators and seeds: drawn from one, a model begins at the truth and scores .998
untrained. With ``--toy``, the larger plain world on which other libraries' autoencoders were measured, and their
figures: 256 atoms in 64 dimensions, each on with probability 0.02, 256 latents, k = 5, 3,000 steps of 1,024 examples,
learning rate 1e-3.

    python -m benchmarks.truth [--worlds plain,hierarchical] [--steps 400] [--seeds 3] [--methods topk-sae,relu-sae]
    python -m benchmarks.truth --toy [--lr cosine:1e-3:0:3000] [--options dead=auxk]
"""

import argparse
import ast
import inspect
import math
import statistics
import time
from functools import lru_cache

import torch
from torch.nn import functional as F

import narrows.data as nd
from benchmarks.given import FORMS, given
from narrows.audit.evidence.effects import atoms
from narrows.audit.evidence.view import examine
from narrows.audit.metrics.absorption import absorbed
from narrows.audit.metrics.matching import f1, match, on
from narrows.core import dense, evaluation_mode
from narrows.core.check import NarrowsError
from narrows.data.synthetic.hierarchy import HierarchyTruth
from narrows.kernels.metrics import dead, fvu, l0
from narrows.methods import index
from narrows.train import optimise

SMALL = {"n": 50_000, "tests": 3_000, "d": 32}
WORLDS = {
    "plain": ("dictionary", {**SMALL, "atoms": 64, "l0": 3.0}),
    "correlated": ("dictionary", {**SMALL, "atoms": 64, "l0": 3.0, "correlation": 0.8}),
    "hierarchical": ("hierarchy", {**SMALL, "parents": 12, "children": 4, "rate": 0.14}),
    "heavy-tailed": ("dictionary", {**SMALL, "atoms": 64, "l0": 3.0, "zipf": 1.0}),
}
TOY = ("dictionary", {"n": 200_000, "tests": 4_000, "d": 64, "atoms": 256, "l0": 5.12})
LATENTS, K, BATCH, LR = 64, 3, 256, 3e-3
TOY_LATENTS, TOY_K, TOY_STEPS, TOY_BATCH, TOY_LR = 256, 5, 3000, 1024, 1e-3
SLOW = 30.0
"""CPU seconds of a run after which a method is left out."""

OTHERS = {
    "topk-sae": {"dictionary_learning": 0.961, "SAELens": 0.955, "sparsify": 0.968, "overcomplete": 0.758},
    "batchtopk-sae": {"dictionary_learning": 0.869, "SAELens": 0.844},
    "matryoshka-sae": {"dictionary_learning": 0.790, "SAELens": 0.820},
    "jumprelu-sae": {"dictionary_learning": 0.909, "SAELens": 0.949},
    "relu-sae": {"dictionary_learning": 0.982, "SAELens": 0.992},
    "mp-sae": {"SAELens": 0.991, "overcomplete": 0.994},
}
"""Mean max cosine on the toy world, one seed, settings as each library has them (ReLU: a penalty of 0.5)."""

TOY_PRICE = 1.7
"""The same penalty in our units: the data have a standard deviation of 0.29."""


def options(name: str, latents: int, k: int, steps: int) -> dict[str, object]:
    """What a method is told: the width, some latents at once, and a schedule that ends within the budget."""
    known = inspect.signature(index.builder(name)).parameters
    told: dict[str, object] = (
        {"latents": latents, "k": k} if "k" in known else {"latents": latents, "price_target": f"l0={k}"}
    )
    if name == "p-anneal-sae":
        told["p"] = f"linear:1:0.2:{steps * 2 // 3}"  # its default ends after 2000 steps
    if name in FORMS:
        told |= FORMS[name].told
    return {key: value for key, value in told.items() if key in known}


@lru_cache(maxsize=16)
def world(name: str, seed: int) -> nd.Source:
    """The data of a seed."""
    what, told = TOY if name == "toy" else WORLDS[name]
    return nd.open(what, **told, seed=1000 + seed)


@torch.no_grad()
def figures(model, source, true) -> dict[str, float]:
    """How well a trained model has found the true atoms, on the test part; latents that are never on are left out."""
    view, truth = examine(model, source.test, len(source.test), 0), source.truth
    z = dense(view.sparse)
    with evaluation_mode(model):
        living, rows = atoms(view, z.shape[-1])
    found = match(true, rows)
    agreement = f1(view.true_codes[:, found.true] != 0, on(z)[:, living[found.learned]])
    numbers = {
        "MCC": found.mcc,
        "mean max cosine": found.mean_max,
        "F1": float(agreement.sum()) / len(true),
        "dead": dead(z),
        "L0": l0(z),
        "FVU": fvu(view.batch.target, view.output),
    }
    if isinstance(truth, HierarchyTruth):
        vector = true.ndim == 2 and view.output.ndim == 2  # else an example has several codes
        codes = z.flatten(1, -2).sum(1)[:, living] if z.ndim > 2 else z[:, living]
        numbers["absorbed"] = (
            absorption_of(truth, true, view.batch.target, codes, rows) if vector else math.nan
        )
    return numbers


def absorption_of(truth: HierarchyTruth, true, x, z, rows) -> float:
    """Full absorption of parents, with their true directions and the latents nearest to them."""
    parents = true[: truth.parents].float()
    nearest = (parents @ F.normalize(rows, dim=1).T).argmax(1)
    there = torch.as_tensor(truth.test_codes)[:, : truth.parents] != 0
    shares = [
        absorbed(x[some], z[some], rows, parents[p], nearest[p : p + 1]).full.double().mean()
        for p, some in enumerate(there.T)
    ]
    return float(torch.stack(shares).mean())


def measured(name: str, told: dict[str, object], of: str, seed: int, plan: dict) -> dict[str, float]:
    """Train one model on the world of a seed."""
    source, true = given(world(of, seed), name, seed)
    torch.manual_seed(seed)
    model = index.builder(name)(source.spec, **told)
    began = time.process_time()
    optimise(model, source.train, seed=seed, **plan)
    seconds = time.process_time() - began
    return {**figures(model.eval(), source, true), "CPU s": seconds}


def contenders(names: list[str], latents: int, k: int, steps: int) -> dict[str, dict[str, object]]:
    """The options of every method; those that take no vectors are left out with the reason."""
    found = {}
    source = world("plain", 0)
    for name in names:
        told = options(name, latents, k, steps)
        try:
            index.builder(name)(given(source, name, 0)[0].spec, **told)
        except NarrowsError as error:
            print(f"- {name} is left out: {reason(error)}")
            continue
        found[name] = told
    return found


def reason(error: Exception) -> str:
    """The first sentence."""
    return str(error).split(". ")[0].split("\n")[0].rstrip(".") + "."


def cell(title: str, values: list[float]) -> str:
    """The mean, and half the range over the seeds."""
    mean, spread = statistics.mean(values), (max(values) - min(values)) / 2
    if math.isnan(mean):
        return "–"
    return f"{mean:.1f}" if title in ("dead", "CPU s") else f"{mean:.3f} ± {spread:.3f}"


def ranked(of: str, methods: dict[str, dict[str, object]], seeds: int, plan: dict) -> None:
    """Print the table of a world, the best first."""
    rows = []
    for name, told in list(methods.items()):
        runs = []
        try:
            for seed in range(seeds):
                runs.append(measured(name, told, of, seed, plan))
                if runs[-1]["CPU s"] > SLOW:
                    raise NarrowsError(f"a run took {runs[-1]['CPU s']:.0f} s.")
        except (NarrowsError, RuntimeError) as error:
            print(f"- {name} is left out: {reason(error)}", flush=True)
            methods.pop(name)
            continue
        columns = {title: [run[title] for run in runs] for title in runs[0]}
        text = " | ".join(cell(title, values) for title, values in columns.items())
        rows.append((statistics.mean(columns["MCC"]), f"| `{name}` | {text} |", list(columns)))
    print(f"\n{of}\n\n| method | {' | '.join(rows[0][2])} |\n|" + "---|" * (len(rows[0][2]) + 1))
    for _, line, _ in sorted(rows, reverse=True):
        print(line, flush=True)


def toy(names: list[str], steps: int, lr: float | str, more: dict[str, object]) -> None:
    """Print our mean max cosine on the toy world beside the other libraries'."""
    plan = {"steps": steps, "batch_size": TOY_BATCH, "lr": lr}
    print("\n| method | ours | dead | L0 | best of the others | others |\n|---|---|---|---|---|---|")
    for name in names:
        told = options(name, TOY_LATENTS, TOY_K, steps)
        if name == "relu-sae":
            told = {"latents": TOY_LATENTS, "l1": TOY_PRICE}
        run = measured(name, told | more, "toy", 0, plan)
        theirs = OTHERS[name]
        listed = ", ".join(f"{library} {value:.3f}" for library, value in theirs.items())
        ours = f"{run['mean max cosine']:.3f} | {run['dead']:.0f} | {run['L0']:.2f}"
        print(f"| `{name}` | {ours} | {max(theirs.values()):.3f} | {listed} |", flush=True)


def told(text: str) -> object:
    """An option's value: a number or truth value where the text is one."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--worlds", default=",".join(WORLDS))
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", default="")
    parser.add_argument("--lr", help="learning rate or schedule of --toy")
    parser.add_argument(
        "--options", default="", help="further options of the methods of --toy: name=text,..."
    )
    args = parser.parse_args()
    chosen = args.methods.split(",") if args.methods else []
    if args.toy:
        more = {
            name: told(text) for name, text in (one.split("=", 1) for one in args.options.split(",") if one)
        }
        return toy(chosen or list(OTHERS), args.steps or TOY_STEPS, args.lr or TOY_LR, more)
    steps = args.steps or 400
    methods = contenders(chosen or [m.name for m in index.in_family("sparse")], LATENTS, K, steps)
    for of in args.worlds.split(","):
        ranked(of, methods, args.seeds, {"steps": steps, "batch_size": BATCH, "lr": LR})
    return None


if __name__ == "__main__":
    main()
