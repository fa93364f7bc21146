"""Planar flows (arXiv:1505.05770), table of section 6.2: -log p(x) of binarised MNIST falls with their length."""

from __future__ import annotations

import torch

from benchmarks.published import nets
from benchmarks.published.tables import Request, Results, Table, mean, spread, trained
from narrows.audit.evidence.likelihood import importance_weights
from narrows.core import Batch
from narrows.methods.variational.flow_vae import flow_vae
from narrows.methods.variational.vae import vae

__all__ = ["TABLE"]

BATCH, STEPS = 100, 500_000
BOUND = {"K=0": 89.9, "K=10": 87.5, "K=20": 86.5, "K=40": 85.7, "K=80": 85.1}
"""The published bounds on -log p(x), nats; K = 0 is the diagonal Gaussian."""


def measure(request: Request) -> dict[str, float]:
    """Train on one binary draw of the images; the bound and the importance-weighted estimate of test images."""
    train, test, _ = nets.digits()
    length, budget = int(request.arm[2:]), request.budget
    options = {
        "latent": 40,
        "net": nets.Layers((400,), nets.Maxout(4)),
        "beta": f"linear:0.01:1:{max(1, round(budget['warm-up'] * request.steps))}",
    }
    torch.manual_seed(request.seed)
    if length:
        model = flow_vae(nets.BINARY, flow=f"planar:length={length}", **options)
    else:
        model = vae(nets.BINARY, **options)
    seconds = trained(
        model,
        nets.Images(nets.fixed(train)),
        request,
        batch_size=BATCH,
        lr=budget["lr"],
        optimizer="rmsprop:momentum=0.9" if budget["rmsprop"] else "adam",
    )
    held = nets.some(nets.fixed(test), budget["tests"])
    samples = int(budget["samples"])
    weights = torch.cat(
        [importance_weights(model, Batch(x), samples, chunk=25) for x in held.split(100)], 1
    ).double()
    return {
        "seconds": seconds,
        "bound": -float(weights.mean()),
        "nll": float((torch.tensor(float(samples)).log() - weights.logsumexp(0)).mean()),
    }


def arms(scale: str) -> list[str]:
    """All lengths, or none and ten."""
    return list(BOUND) if scale == "full" else ["K=0", "K=10"]


def lines(found: Results) -> list[str]:
    """Bounds, and by how much they are below that of K = 0 with the same seed."""
    said = [
        "| maps | published bound | ours | gain published | gain of the bound | gain of the 200-sample estimate |"
    ]
    said.append("|---|---|---|---|---|---|")
    for arm in arms(found.scale):
        gains = []
        for name in ("bound", "nll"):
            pairs = zip(found.of("K=0", name), found.of(arm, name), strict=False)
            values = [a - b for a, b in pairs]
            gains.append(f"{mean(values):.2f} ± {spread(values):.2f}")
        said.append(
            f"| {arm} | {BOUND[arm]} | {found.cell(arm, 'bound')} | {BOUND['K=0'] - BOUND[arm]:.1f} "
            f"| {gains[0]} | {gains[1]} |"
        )
    return said


TABLE = Table(
    title="VAE with planar maps on MNIST with one binary draw of each image: nats",
    budgets={
        "reduced": {"steps": 3000, "lr": 1e-3, "rmsprop": 0, "warm-up": 0.02, "tests": 1000, "samples": 200},
        "full": {"steps": STEPS, "lr": 1e-5, "rmsprop": 1, "warm-up": 0.02, "tests": 10_000, "samples": 200},
    },
    published=lambda arm: STEPS,
    arms=arms,
    measure=measure,
    lines=lines,
)
