"""A TopK dictionary as a JumpReLU with one threshold: the number of active latents and the error, on other tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from narrows.core import Batch
from narrows.exchange.model import build, describe
from narrows.exchange.threshold import thresholded
from narrows.kernels.metrics import fvu, l0
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.sparse._stacked import Reading, dataset, spec_of

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train TopK, convert it on the training tokens, and measure both on the test tokens."""
    reading = Reading.of(trial)
    train, test = (reading.rows(part)[0].float() for part in ("train", "test"))
    budget = trial.budget
    model = trial.build(topk_sae, spec=spec_of(train), latents=budget["latents"], k=budget["k"])
    rate = budget["lr/10000"] / 10_000
    trial.fit(model, dataset(train), lr=f"cosine:{rate}:0:{budget['steps']}")
    after = build(thresholded(describe(model), train))
    numbers: dict[str, float] = {}
    with torch.no_grad():
        for name, one in (("topk", model), ("jumprelu", after)):
            numbers[f"{name}/l0"] = l0(one.features(Batch(test)))
            numbers[f"{name}/fvu"] = fvu(test, one.reconstruct(Batch(test)))
    bottleneck: Any = after.bottleneck
    numbers["threshold"] = float(bottleneck.floor()[0])
    return numbers


PROOF = Proof(
    data="dictionary",
    data_options={"n": 64, "tests": 64},
    claims=Claim.read("""
        the converted code has at most a twentieth more latents on:
            jumprelu/l0 < 1.05 * topk/l0
        and at most a twentieth fewer:
            jumprelu/l0 > 0.95 * topk/l0
        and it leaves no more variance unexplained:
            jumprelu/fvu < topk/fvu  (refuted here)
        """),
    default={
        "steps": 2000,
        "batch_size": 512,
        "latents": 512,
        "k": 16,
        "lr/10000": 20,
        "contexts": 512,
        "length": 128,
    },
    full={"steps": 20_000, "batch_size": 2048, "latents": 2048, "contexts": 4096},
    notes="""
        The paper's activations are those of Llama 3.1 8B; here those of the story model's third layer on its own
        stories, without the first position of each. The threshold is decided on the training tokens, and everything is
        measured on other stories. There is no quick scale: the few tokens of a toy model have fixed norms, so that a
        threshold leaves a third of them without any latent, and its error is three times that of TopK.
        """,
)
