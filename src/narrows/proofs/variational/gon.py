"""Gradient origin networks: without an encoder, are training data reconstructed better, with half the parameters?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from narrows.audit.evidence.cost import flops
from narrows.core import Autoencoder, Batch
from narrows.methods.regularised.ae import ae
from narrows.methods.variational.gon import gon
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.quality import error
from narrows.proofs.reduced import reduced

__all__ = ["PROOF"]

EARLY = 10
"""The part of the steps after which errors are compared a first time."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a GON and an autoencoder with the same decoder and a mirrored encoder, for equal steps."""
    budget = trial.budget
    data = reduced(trial.data, rows=budget["rows"], tests=budget["tests"], binary=False)
    seen, unseen = data.train.all(budget["tests"]), data.test.all()
    options = {"spec": data.spec, "latent": 48, "net": f"mlp:{budget['width']}", "likelihood": "bernoulli"}
    numbers = {"mean/train": float((seen.x - seen.x.mean(0)).square().mean())}
    builders: Mapping[str, Callable[..., Autoencoder]] = {"gon": gon, "ae": ae}
    for name, builder in builders.items():
        early = trial.build(builder, **options)
        trial.fit(early, data.train, lr=1e-3, steps=budget["steps"] // EARLY)
        model = trial.build(builder, **options)
        trial.fit(model, data.train, lr=1e-3)
        numbers |= {
            f"{name}/early": error(early, seen),
            f"{name}/train": error(model, seen),
            f"{name}/test": error(model, unseen),
            f"{name}/parameters": float(sum(p.numel() for p in model.parameters())),
            f"{name}/step-kflops": operations(model, seen[:1]) / 1e3,
        }
    return numbers


def operations(model: Autoencoder, batch: Batch) -> int:
    """The floating-point operations of a loss and its gradient."""
    with torch.enable_grad():
        return flops(lambda: torch.autograd.grad(model.loss(batch).total, list(model.parameters())))


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        the error on training images is lower than that of an autoencoder with a mirrored encoder:
            gon/train < ae/train  (not at quick scale)
        after a tenth of the steps too:
            gon/early < ae/early  (not at quick scale)
        with little more than half the parameters:
            gon/parameters < 0.55 * ae/parameters
        it is less than half that of the mean image:
            gon/train < 0.5 * mean/train
        """),
    quick={"steps": 80, "rows": 1438, "tests": 300, "width": 64},
    default={"steps": 1500, "batch_size": 64, "rows": 20_000, "tests": 5000, "width": 256},
    full={"steps": 50_000, "rows": 60_000, "tests": 10_000},
    notes="""
        MNIST averaged to 14 x 14, values from 0 to 1, 48 latents, perceptrons with one hidden layer, binary
        cross-entropy, as many steps for both at the same learning rate; errors are mean squares of a pixel. The paper
        has convolutional nets with batch normalisation at 32 x 32. Errors on unseen images, and the operations of
        a step for one image, are measured without a claim: the paper says that a GON may generalise worse, and its step
        decodes twice and differentiates twice.
        """,
)
