"""pythae's table of reproduced results: the same nets, data, steps and rates in pythae and here.

Nets, widths of the code and batches are those of pythae's scripts. Weights start by Glorot's rule and the optimizer is
Adam with a constant rate in both. What differs: ours has a variance for each latent in the Poincaré VAE, where pythae
has one for all, and learns the step sizes of the HVAE; our pseudo-inputs begin at training images; the concentration of
our S-VAE begins at Z, pythae's at 1.7; the penalty of `RAE-GP` is on the decoder here, as in the paper, and on decoder
and encoder in pythae, whose decoder of the RAE ends in a sigmoid. The published nets of the RAE have convolutions of up
to 1024 channels: both get perceptrons of 400 and 400, and the figure is the error of reconstructions, not the FID.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.published import judge, nets
from benchmarks.published.tables import Request, Results, Table, mean, spread, trained
from narrows.audit.evidence.likelihood import importance_weights
from narrows.core import NO_WIDTHS, Batch, Spec, Widths
from narrows.methods.index import builder

__all__ = ["METHODS", "TABLE", "Method"]

LIBRARIES = ("narrows", "pythae")


class Gated(nn.Module):
    """The product of one half and the sigmoid of the other."""

    pieces = 2

    def forward(self, x: Tensor) -> Tensor:
        """(..., 2W) -> (..., W)."""
        return nn.functional.glu(x, -1)


class Hyperbolic(nets.Layers):
    """The decoder begins with an activation, after the distances to gyroplanes."""

    def decoder(self, z: int, shape: tuple[int, ...], condition: Widths = NO_WIDTHS) -> nn.Module:
        """(z, condition) -> (*samples, B, *shape)."""
        return nets.Dense((z, 784), self.activation, shape_out=shape, first=True)


class Method(NamedTuple):
    """A row of the table.

    Args:
        name: ours.
        options: ours.
        theirs: the name of pythae's model, and its options.
        hidden: widths of hidden layers.
        activation: of both.
        latent: Z.
        batch: examples a step.
        epochs: of the publication.
        rate: of the publication.
        data: ``static`` binarisation, ``dynamic``, or ``grey``.
        published: pythae's figure and that of the method's paper.
    """

    name: str
    options: Mapping[str, Any]
    theirs: tuple[str, Mapping[str, Any]]
    hidden: tuple[int, ...]
    activation: str
    latent: int
    batch: int
    epochs: int
    rate: float
    data: str
    published: str


GROUPS = {"number_gradient_estimates": 8, "number_samples": 8}
IMPORTANCE = ((200, 200), "tanh", 50, 20, 3280, 1e-3, "dynamic")
SMOOTH = ((400, 400), "relu", 16, 100, 100, 1e-3, "grey")
METHODS: dict[str, Method] = {
    "VAMP": Method(
        "vamp-vae",
        {"pseudo": 500},
        ("VAMP", {"number_components": 500, "linear_scheduling_steps": 0}),
        (300, 300),
        "gated",
        *(40, 100, 2000, 1e-4, "static"),
        "85.79 / 85.57",
    ),
    "S-VAE": Method(
        "s-vae",
        {"distribution": "vmf"},
        ("SVAE", {}),
        (256, 128),
        "relu",
        *(11, 64, 500, 1e-3, "dynamic"),
        "93.13 / 93.16",
    ),
    "Poincare": Method(
        "poincare-vae",
        {"gyroplanes": 600},
        ("PoincareVAE", {}),
        (600,),
        "relu",
        *(2, 128, 80, 5e-4, "static"),
        "101.66 / 101.47",
    ),
    "MIWAE": Method("miwae", {"samples": 8, "estimates": 8}, ("MIWAE", GROUPS), *IMPORTANCE, "85.09 / 84.97"),
    "PIWAE": Method("piwae", {"samples": 8, "estimates": 8}, ("PIWAE", GROUPS), *IMPORTANCE, "84.58 / 84.46"),
    "CIWAE": Method(
        "ciwae",
        {"samples": 64, "beta": 0.05},
        ("CIWAE", {"number_samples": 64, "beta": 0.05}),
        *IMPORTANCE,
        "84.74 / 84.57",
    ),
    "HVAE": Method(
        "hvae",
        {"leapfrog": 4, "step_size": 0.05, "tempering": "none"},
        (
            "HVAE",
            {"n_lf": 4, "eps_lf": 0.05, "beta_zero": 1, "learn_eps_lf": False, "learn_beta_zero": False},
        ),
        (300,),
        "softplus",
        *(64, 100, 2000, 5e-4, "static"),
        "86.21 / 86.40",
    ),
    "RAE-L2": Method(
        "rae",
        {"penalty": "l2", "beta": 1e-4, "weight": 1e-7},
        ("RAE_L2", {"embedding_weight": 1e-4, "reg_weight": 1e-7}),
        *SMOOTH,
        "(FID 9.1 / 9.9)",
    ),
    "RAE-GP": Method(
        "rae",
        {"penalty": "gp", "beta": 1e-4, "weight": 1e-7},
        ("RAE_GP", {"embedding_weight": 1e-4, "reg_weight": 1e-7}),
        *SMOOTH,
        "(FID 9.7 / 9.4)",
    ),
}
"""By the name in the table; pythae's ``reg_weight`` of RAE-L2 is its weight decay, whose gradient is half as large."""

ACTIVATIONS = {"tanh": nn.Tanh(), "relu": nn.ReLU(), "softplus": nn.Softplus(), "gated": Gated()}


def parts(request: Request, method: Method) -> tuple[Tensor, Tensor]:
    """Training images from 0 to 1, binary if static, and the test images of the judge."""
    train, test, _ = nets.digits()
    held = nets.some(test if method.data == "grey" else nets.fixed(test), request.budget["tests"])
    return (nets.fixed(train) if method.data == "static" else train), held


def ours(request: Request, method: Method) -> dict[str, float]:
    """Train and judge a method of ours."""
    train, held = parts(request, method)
    spec = Spec((1, 28, 28), "unit") if method.data == "grey" else nets.BINARY
    kind = Hyperbolic if method.name == "poincare-vae" else nets.Layers
    net = kind(method.hidden, ACTIVATIONS[method.activation])
    torch.manual_seed(request.seed)
    model = builder(method.name)(spec, latent=method.latent, net=net, **method.options)
    examples = nets.Binarised(train) if method.data == "dynamic" else nets.Images(train)
    plan: dict[str, Any] = {"stages": {"prior": {"steps": 1}}} if method.name == "rae" else {}
    rate = request.budget["lr"] or method.rate
    seconds = trained(model, examples, request, batch_size=method.batch, lr=rate, **plan)
    if method.data == "grey":
        return {"seconds": seconds, "figure": judge.error(lambda x: model.reconstruct(Batch(x)), held)}
    samples = int(request.budget["samples"])
    draws = iter(range(10**6))

    def weigh(x: Tensor, count: int) -> Tensor:
        return importance_weights(model, Batch(x), count, next(draws), count)

    return {"seconds": seconds, "figure": judge.nll(weigh, held, samples)}


def theirs(request: Request, method: Method) -> dict[str, float]:
    """The same by pythae, in its own process."""
    train, held = parts(request, method)
    count = min(len(train), request.steps * method.batch)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "images.npz"
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(request.seed))[:count]
        np.savez(data, train=train[order].numpy(), held=held.numpy())
        wanted = {
            **method._asdict(),
            "seed": request.seed,
            "steps": request.steps,
            "rate": request.budget["lr"] or method.rate,
            "samples": int(request.budget["samples"]),
            "data": str(data),
            "dynamic": method.data == "dynamic",
        }
        command = [request.peer, "-W", "ignore", "-m", "benchmarks.published.pythae_peer", json.dumps(wanted)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr[-2000:])
        raise SystemExit(f"pythae's process has failed; its last words are above ({request.arm}).")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(request: Request) -> dict[str, float]:
    """Train and judge one method in one library."""
    name, library = request.arm.split(", ")
    return (ours if library == "narrows" else theirs)(request, METHODS[name])


def lines(found: Results) -> list[str]:
    """Both libraries side by side; the difference is paired by seed."""
    said = ["| method | published: pythae / paper | `narrows` | pythae, same steps | pythae - `narrows` |"]
    said.append("|---|---|---|---|---|")
    for name, method in METHODS.items():
        a, b = (found.of(f"{name}, {library}", "figure") for library in LIBRARIES)
        apart = [y - x for x, y in zip(a, b, strict=False)]
        cells = [found.cell(f"{name}, {library}", "figure") for library in LIBRARIES]
        said.append(
            f"| {name} | {method.published} | {cells[0]} | {cells[1]} | {mean(apart):.2f} ± {spread(apart):.2f} |"
        )
    return said


def steps(arm: str, budget: Mapping[str, float]) -> int:
    """A fixed number, or the epochs of the publication."""
    method = METHODS[arm.split(", ")[0]]
    return int(budget["steps"]) or method.epochs * 60_000 // method.batch


TABLE = Table(
    title="pythae's table: -log p(x) in nats, of RAE the squared error of an image",
    budgets={
        "reduced": {"steps": 400, "lr": 1e-3, "tests": 300, "samples": 100},
        "full": {"steps": 0, "lr": 0, "tests": 10_000, "samples": 5000},
    },
    steps=steps,
    published=lambda arm: steps(arm, {"steps": 0}),
    arms=lambda scale: [f"{name}, {library}" for name in METHODS for library in LIBRARIES],
    measure=measure,
    lines=lines,
    needs_peer=True,
)
