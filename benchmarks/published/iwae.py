"""IWAE (arXiv:1509.00519), table 1: one and two stochastic layers, k = 1, 5, 50, on MNIST binarised dynamically."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from benchmarks.published import nets
from benchmarks.published.tables import Request, Results, Table, trained
from narrows import likelihoods
from narrows.audit.evidence.likelihood import importance_nll
from narrows.audit.metrics.usage import active_units
from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.bottlenecks.gaussian.ladder import Chain
from narrows.core import Autoencoder, Batch, Objective
from narrows.nets.bottom_up import Lowest
from narrows.objectives.importance import Importance

__all__ = ["TABLE"]

ROWS, BATCH, EPOCHS = 60_000, 20, 3280
NLL: dict[str, tuple[float, str]] = {
    "1 layer, VAE k=1": (86.76, "19"),
    "1 layer, VAE k=5": (86.47, "20"),
    "1 layer, VAE k=50": (86.35, "20"),
    "1 layer, IWAE k=5": (85.54, "22"),
    "1 layer, IWAE k=50": (84.78, "25"),
    "2 layers, VAE k=1": (85.33, "16 + 5"),
    "2 layers, VAE k=5": (85.01, "17 + 5"),
    "2 layers, VAE k=50": (84.78, "17 + 5"),
    "2 layers, IWAE k=5": (83.89, "21 + 5"),
    "2 layers, IWAE k=50": (82.90, "26 + 7"),
}
"""-log p(x) in nats and active units by arm."""


def arms(scale: str) -> list[str]:
    """All, or those whose order is the paper's claim."""
    return [arm for arm in NLL if scale == "full" or "VAE k=1" in arm or "IWAE" in arm]


def rate(per_epoch: int) -> Any:
    """10^(-3 - i/7) for 3^i epochs, i = 0 ... 7."""
    ends = [sum(3**j for j in range(i + 1)) * per_epoch for i in range(8)]
    return lambda step: 1e-3 * 10 ** (-sum(step >= end for end in ends[:7]) / 7)


def build(arm: str) -> Autoencoder:
    """The paper's nets: tanh, 200 and 200 hidden units; between the two layers 100 and 100."""
    k = int(arm.rsplit("=", 1)[1])
    objective: Objective = Importance(1, estimates=k) if " VAE" in arm else Importance(k)
    output = likelihoods.likelihood("bernoulli", (1, 28, 28), "binary")
    tanh = nn.Tanh()
    if arm.startswith("1"):
        net = nets.Layers((200, 200), tanh)
        encoder, decoder = net.encoder((1, 28, 28), 100), net.decoder(50, (1, 28, 28))
        return Autoencoder(encoder, Gaussian(50), decoder, output, objective)
    chain = Chain((100, 50), 200, 100)
    chain.ups[0] = nets.Dense((100, 100, 100, 100), tanh)
    chain.priors[0] = nets.Dense((50, 100, 100, 200), tanh)
    encoder = nets.Dense((784, 200, 200), tanh, shape_in=(1, 28, 28), last=True)
    decoder = nets.Layers((200, 200), tanh).decoder(100, (1, 28, 28))
    return Autoencoder(encoder, chain, Lowest(decoder, 100), output, objective)


def measure(request: Request) -> dict[str, float]:
    """Train, then -log p(x) by importance sampling and the active units of the first and second layer."""
    train, test, _ = nets.digits()
    torch.manual_seed(request.seed)
    model = build(request.arm)
    seconds = trained(
        model,
        nets.Binarised(train),
        request,
        batch_size=BATCH,
        lr=rate(ROWS // BATCH),
        optimizer="adam:eps=1e-4",
    )
    held = nets.fixed(nets.some(test, request.budget["tests"]))
    samples = int(request.budget["samples"])
    nll = torch.cat([importance_nll(model, Batch(x), samples, chunk=25) for x in held.split(100)])
    with torch.no_grad():
        z = model.encode(Batch(nets.fixed(nets.some(test, 1000)))).z
    widths = (50,) if z.shape[1] == 50 else (100, 50)
    counts = [active_units(part) for part in z.split(widths, 1)]
    return {
        "seconds": seconds,
        "nll": float(nll.mean()),
        **{f"active/{i}": float(count) for i, count in enumerate(counts, 1)},
    }


def lines(found: Results) -> list[str]:
    """Published and measured, side by side."""
    said = ["| arm | published NLL | ours | published active units | ours |", "|---|---|---|---|---|"]
    for arm in arms(found.scale):
        nll, units = NLL[arm]
        own = found.cell(arm, "active/1", 1)
        if found.of(arm, "active/2"):
            own += f" + {found.cell(arm, 'active/2', 1)}"
        said.append(f"| {arm} | {nll} | {found.cell(arm, 'nll')} | {units} | {own} |")
    return said


def steps(arm: str, budget: Mapping[str, float]) -> int:
    """Alike for all arms."""
    return round(budget["epochs"] * ROWS / BATCH)


TABLE = Table(
    title="IWAE on MNIST, dynamic binarisation: -log p(x) in nats, and units whose mean varies by more than 0.01",
    budgets={
        "reduced": {"epochs": 1, "tests": 500, "samples": 500},
        "full": {"epochs": EPOCHS, "tests": 10_000, "samples": 5000},
    },
    steps=steps,
    published=lambda arm: EPOCHS * ROWS / BATCH,
    arms=arms,
    measure=measure,
    lines=lines,
)
