"""The large study (arXiv:1811.12359), its rank correlations between metrics over methods, strengths and seeds."""

from __future__ import annotations

import itertools
from functools import lru_cache

import torch
from scipy.stats import spearmanr

import narrows.data as nd
from benchmarks.published.tables import Request, Results, Table, trained
from narrows.audit.metrics.disentanglement import dci, mig, sap
from narrows.data import Source
from narrows.methods.index import builder

__all__ = ["TABLE"]

METRICS = ("mig", "dci", "sap")
PUBLISHED = {("mig", "dci"): 0.76, ("mig", "sap"): 0.42, ("dci", "sap"): 0.38}
"""Spearman's correlations on dSprites over six methods, six strengths each, fifty seeds."""
STEPS = 300_000

REDUCED = {
    "beta-vae": ("beta", (1, 4, 16)),
    "factor-vae": ("gamma", (10, 40)),
    "dip-vae": ("weight", (1, 5, 20)),
    "beta-tcvae": ("beta", (2, 6, 10)),
}
FULL = {
    "beta-vae": ("beta", (1, 2, 4, 6, 8, 16)),
    "annealed-vae": ("capacity", (5, 10, 25, 50, 75, 100)),
    "factor-vae": ("gamma", (10, 20, 30, 40, 50, 100)),
    "dip-vae": ("weight", (1, 2, 5, 10, 20, 50)),
    "dip-vae ii": ("weight", (1, 2, 5, 10, 20, 50)),
    "beta-tcvae": ("beta", (1, 2, 4, 6, 8, 10)),
}
"""The strengths of the study by method."""


@lru_cache(1)
def data(size: int, rows: int, tests: int) -> Source:
    """Sprites with the factors of dSprites."""
    return nd.open("sprites", n=rows, size=size, tests=tests)


def measure(request: Request) -> dict[str, float]:
    """Train, and score the means of the codes of test images."""
    budget = request.budget
    source = data(int(budget["size"]), int(budget["rows"]), int(budget["codes"]))
    name, strength = request.arm.rsplit(" ", 1)
    option, value = strength.split("=")
    options: dict[str, object] = {option: float(value)}
    if name == "dip-vae ii":
        name, options["type"] = "dip-vae", "ii"
    if name == "annealed-vae":
        options[option] = f"linear:0:{value}:100000"
    net = "conv:32,32,64,64" if budget["conv"] else "mlp:256,128"
    torch.manual_seed(request.seed)
    model = builder(name)(source.spec, latent=10, net=net, likelihood="bernoulli", **options)
    seconds = trained(model, source.train, request, batch_size=64, lr=budget["lr"])
    factors = source.test.factors
    assert factors is not None
    factors = factors[:, factors.amax(0) > 0].numpy()
    with torch.no_grad():
        codes = model.features(source.test.all()).numpy()
    found = dci(codes, factors)
    return {
        "seconds": seconds,
        "mig": mig(codes, factors),
        "sap": sap(codes, factors),
        "dci": found.disentanglement,
    }


def arms(scale: str) -> list[str]:
    """Methods and strengths."""
    chosen = FULL if scale == "full" else REDUCED
    return [f"{name} {option}={value}" for name, (option, values) in chosen.items() for value in values]


def lines(found: Results) -> list[str]:
    """Correlations of the metrics over all models, and the scores of each arm."""
    models = [row for arm in found.rows.values() for row in arm.values()]
    said = [f"{len(models)} models.", "", "| metrics | published | ours | seeds apart |", "|---|---|---|---|"]
    for a, b in itertools.combinations(METRICS, 2):
        seeds = sorted({seed for arm in found.rows.values() for seed in arm})
        apart = []
        for seed in seeds:
            rows = [arm[seed] for arm in found.rows.values() if seed in arm]
            apart.append(spearmanr([row[a] for row in rows], [row[b] for row in rows]).statistic)
        whole = spearmanr([row[a] for row in models], [row[b] for row in models]).statistic
        each = ", ".join(f"{value:.2f}" for value in apart)
        said.append(f"| {a.upper()}, {b.upper()} | {PUBLISHED[a, b]} | {whole:.2f} | {each} |")
    said += ["", "| arm | MIG | DCI | SAP |", "|---|---|---|---|"]
    for arm in arms(found.scale):
        said.append(f"| {arm} | {' | '.join(found.cell(arm, name, 3) for name in METRICS)} |")
    return said


TABLE = Table(
    title="Rank correlation of disentanglement metrics on sprites",
    budgets={
        "reduced": {"steps": 1500, "lr": 1e-3, "size": 32, "rows": 20_000, "codes": 2000, "conv": 0},
        "full": {"steps": STEPS, "lr": 1e-4, "size": 64, "rows": 737_280, "codes": 15_000, "conv": 1},
    },
    published=lambda arm: STEPS,
    arms=arms,
    measure=measure,
    lines=lines,
)
