"""All levels at once against level by level: the objective, its descent, and what a probe reads from the codes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.core import Batch, Spec
from narrows.methods.regularised.denoising_ae import denoising_ae
from narrows.methods.sparse.deep_dictionary import deep_dictionary
from narrows.methods.sparse.k_sparse_ae import k_sparse_ae
from narrows.nets.dictionaries.deep import DeepDictionary, code_step, cost, sweep
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.probe import probe

__all__ = ["PROOF", "greedy", "joint"]

INNER, SETTLED = 5, 200
"""Steps of the code in a sweep, and those that end a solution."""


def joint(x: Tensor, levels: list[Tensor], l1: float, sweeps: int) -> tuple[list[Tensor], list[float]]:
    """Learn all levels together on centred examples; the levels, and the objective after each sweep."""
    z, costs = x.new_zeros(len(x), len(levels[-1])), []
    for _ in range(sweeps):
        z, levels = sweep(x, z, levels, l1, inner=INNER)
        costs.append(cost(x, z, levels, l1))
    return levels, costs


def greedy(x: Tensor, levels: list[Tensor], l1: float, sweeps: int) -> list[Tensor]:
    """Learn level by level: each on the codes of the one before, which are dense; only the last have a price."""
    learned: list[Tensor] = []
    for depth, level in enumerate(levels):
        price = l1 if depth + 1 == len(levels) else 0.0
        z, one = x.new_zeros(len(x), len(level)), [level]
        for _ in range(sweeps):
            z, one = sweep(x, z, one, price, inner=INNER)
        learned, x = [*learned, *one], z
    return learned


def settled(x: Tensor, levels: list[Tensor], l1: float) -> Tensor:
    """The codes of examples, the levels held fixed."""
    z = x.new_zeros(len(x), len(levels[-1]))
    for _ in range(SETTLED):
        z = code_step(x, z, levels, l1)
    return z


def two_level(seed: int) -> Tensor:
    """A thousand examples of a true hierarchy: 4 of 48 on, through 24 parts to 32 numbers."""
    draw = torch.Generator().manual_seed(1000 + seed)
    deep, near = (F.normalize(torch.randn(*s, generator=draw), dim=1) for s in ((48, 24), (24, 32)))
    on = (torch.rand(1000, 48, generator=draw) < 4 / 48).float()
    x = (on * (0.5 + torch.rand(on.shape, generator=draw))) @ deep @ near
    return x + 0.02 * torch.randn(x.shape, generator=draw)


def started(trial: Trial, width: int, sizes: tuple[int, ...]) -> list[Tensor]:
    """Random levels of the trial's seed, the same for both ways of learning."""
    *levels, latents = sizes
    model = trial.build(deep_dictionary, spec=Spec((width,)), latents=latents, levels=tuple(levels))
    return cast(DeepDictionary, model.decoder).levels


def solved(
    x: Tensor, levels: list[Tensor], l1: float, sweeps: int
) -> dict[str, tuple[list[Tensor], list[float]]]:
    """Both ways from the same start."""
    return {"joint": joint(x, levels, l1, sweeps), "greedy": (greedy(x, levels, l1, sweeps), [])}


@torch.no_grad()
def measure(trial: Trial) -> Mapping[str, float]:
    """The objective of both on made hierarchies and on the trial's data, and there a probe's accuracy."""
    sweeps = trial.budget["sweeps"]
    train, test = (part.all(limit=trial.budget["examples"]) for part in (trial.data.train, trial.data.test))
    labels, answers = trial.data.train.labels, trial.data.test.labels
    assert labels is not None
    assert answers is not None
    labels, answers = labels[: len(train)], answers[: len(test)]
    seen, new = train.x.flatten(1), test.x.flatten(1)
    centre, numbers = seen.mean(0), {}
    made = two_level(trial.seed)
    for kind, x, sizes, l1 in (
        ("made", made - made.mean(0), (24, 48), 0.1),
        ("data", seen - centre, (48, 96), 0.3),
    ):
        for name, (levels, costs) in solved(x, started(trial, x.shape[1], sizes), l1, sweeps).items():
            z = settled(x, levels, l1)
            numbers[f"{kind}/{name}/objective"] = cost(x, z, levels, l1) / len(x)
            numbers[f"{kind}/{name}/l0"] = float((z != 0).double().sum(1).mean())
            if costs:
                numbers[f"{kind}/largest_rise"] = max(b / a - 1 for a, b in pairwise(costs))
            if kind == "data":
                numbers[f"{name}/accuracy"] = probe(z, labels, settled(new - centre, levels, l1), answers)
    return numbers | (rivals(trial, train, labels, test, answers) if trial.budget["steps"] else {})


def rivals(trial: Trial, train: Batch, labels: Tensor, test: Batch, answers: Tensor) -> dict[str, float]:
    """What a probe reads from the codes of two other autoencoders of the same width."""
    numbers = {}
    for name, model in (
        ("k_sparse", trial.build(k_sparse_ae, latents=96, k=16)),
        ("dae", trial.build(denoising_ae, latent=96, net="mlp:48")),
    ):
        with torch.enable_grad():
            trial.fit(model, steps=trial.budget["steps"], batch_size=128)
        numbers[f"{name}/accuracy"] = probe(model.features(train), labels, model.features(test), answers)
    return numbers


PROOF = Proof(
    data="digits",
    claims=Claim.read("""
        the objective never rises, on a made hierarchy:
            made/largest_rise < 0 + 1e-06
        nor on digits:
            data/largest_rise < 0 + 1e-06
        together ends lower than level by level there:
            made/joint/objective < made/greedy/objective  (not at quick scale)
        and on digits:
            data/joint/objective < data/greedy/objective
        a probe of its codes is right more often than level by level:
            joint/accuracy > greedy/accuracy  (not at quick scale, refuted here)
            Post hoc: Loosened to no worse by a point at first; the paper's claim is back (0.969 against 0.981, seeds
            0 to 2).
        than on codes of a k-sparse autoencoder:
            joint/accuracy > k_sparse/accuracy  (not at quick scale)
            Post hoc: TopK stood beside without a claim (0.980) on seeds 0 to 2.
        and than on those of a denoising autoencoder of the same widths:
            joint/accuracy > dae/accuracy  (not at quick scale)
        """),
    seeds=(100, 101, 102),
    quick={"sweeps": 10, "examples": 180, "steps": 0},
    default={"sweeps": 150, "examples": 1400, "steps": 1000},
    full={"sweeps": 3000, "examples": 10_000, "steps": 10_000},
    notes="""
        The paper's data are MNIST and its variants; here the small digits, and hierarchies made of two true levels.
        Both ways begin with the same random levels, have equal sizes, price and sweeps (level by level as many for
        each level), and are compared at codes solved anew for the whole objective, 200 shrinkage steps. The price is
        equal, the sparsity that comes of it is not. There is no activation between the levels. Level by level, the
        upper level's codes are dense and without a price. The probe is logistic regression. The paper's claim of
        speed, belief networks and contractive autoencoders are left out.
        """,
)
