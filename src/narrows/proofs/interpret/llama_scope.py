"""A TopK dictionary as a JumpReLU with one threshold: the number of active latents and the error, on other tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from narrows.core import Batch, Spec
from narrows.exchange.model import build, describe
from narrows.exchange.threshold import thresholded
from narrows.kernels.metrics import fvu, l0
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.interpret._reading import rows_data
from narrows.testing.stories import activations

__all__ = ["PROOF"]

_HELD = 32
"""Contexts that are held out."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Train TopK, convert it on the training tokens, and measure both on the test tokens."""
    train, test = _rows(trial)
    budget = trial.budget
    model = trial.build(topk_sae, spec=Spec(tuple(train.shape[1:])), latents=budget["latents"], k=budget["k"])
    rate = budget["lr/10000"] / 10_000
    trial.fit(model, rows_data(train), lr=f"cosine:{rate}:0:{budget['steps']}")
    after = build(thresholded(describe(model), train))
    numbers: dict[str, float] = {}
    with torch.no_grad():
        for name, one in (("topk", model), ("jumprelu", after)):
            numbers[f"{name}/l0"] = l0(one.features(Batch(test)))
            numbers[f"{name}/fvu"] = fvu(test, one.reconstruct(Batch(test)))
    bottleneck: Any = after.bottleneck
    numbers["threshold"] = float(bottleneck.floor()[0])
    return numbers


def _rows(trial: Trial) -> tuple[Tensor, Tensor]:
    """Training and test rows, (T, D); generated data at quick scale."""
    count = trial.budget["contexts"]
    if not count:
        return trial.data.train.all().x, trial.data.test.all().x
    seen = activations("resid.2", count + _HELD, 128)[:, 1:, 0].float()
    return seen[:count].flatten(0, 1), seen[count:].flatten(0, 1)


PROOF = Proof(
    data="dictionary",
    claims=Claim.read("""
        the converted code has at most a twentieth more latents on:
            jumprelu/l0 < 1.05 * topk/l0
        and at most a twentieth fewer:
            jumprelu/l0 > 0.95 * topk/l0
        and it leaves no more variance unexplained:
            jumprelu/fvu < topk/fvu  (not at quick scale, refuted here)
        """),
    quick={"steps": 400, "batch_size": 128, "latents": 64, "k": 4, "contexts": 0, "lr/10000": 50},
    default={
        "steps": 2000,
        "batch_size": 512,
        "latents": 512,
        "k": 16,
        "lr/10000": 20,
        "contexts": 512,
    },
    full={"steps": 20_000, "batch_size": 2048, "latents": 2048, "contexts": 4096},
    notes="""
        The paper's activations are those of Llama 3.1 8B; here those of the story model's third layer on its own
        stories, without the first position of each (a generated dictionary at quick scale). The threshold is decided
        on the training tokens, and everything is measured on other stories. The error is larger with one threshold
        for all tokens: the latents of a token are in proportion to its activation, so that small ones get few.
        """,
)
