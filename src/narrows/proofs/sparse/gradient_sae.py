"""Latents ranked by influence against latents ranked by size: what splicing costs the model, and what steering does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.activations.splice import divergence, spliced
from narrows.core import Batch, Sparse
from narrows.kernels.metrics import dead, firings, fvu
from narrows.methods.sparse.gradient_sae import gradient_sae
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.sparse._stacked import FULL, Reading, dataset, spec_of

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train both on the same activations of a language model, and put them in the place of these."""
    reading = Reading.of(trial, weights=trial.seed)
    x, slopes = reading.rows()
    numbers: dict[str, float] = {}
    for name, builder in (("gradient", gradient_sae), ("topk", topk_sae)):
        model: Any = trial.build(
            builder, spec=spec_of(x), latents=trial.budget["latents"], k=trial.budget["k"]
        )
        trial.fit(model, dataset(x, gradients=slopes), lr=trial.budget["lr/1000"] / 1000)
        numbers |= {f"{name}/{what}": value for what, value in judged(trial, reading, model).items()}
    return numbers


@torch.no_grad()
def judged(trial: Trial, reading: Reading, model: Any) -> dict[str, float]:
    """What the model's code costs, and what its atoms do."""
    slopes = reading.test[2][:, 1:]

    def coded(slope: Tensor | None) -> float:
        def replace(activation: Tensor) -> Tensor:
            told = {} if slope is None else {"gradients": slope.flatten(0, 1)}
            back = model.reconstruct(Batch(activation.flatten(0, 1), condition=told))
            return back.unflatten(0, activation.shape[:2])

        costs = reading.spliced(replace)
        return costs.average("spliced") - costs.average("original")

    x, slope = reading.rows("test")
    batch = Batch(x, condition={"gradients": slope})
    z = model.encode(batch).z
    effects = (slope @ model.decoder.atoms.T).abs()

    def influence(code: Sparse) -> float:
        return float((code.values * effects.gather(1, code.indices)).sum(1).mean())

    return {
        "ce": coded(slopes),
        "ce without gradients": coded(None),
        "fvu": fvu(x, model.reconstruct(batch)),
        "influence": influence(z) / influence(model.encode(Batch(x)).z),
        "steering": steered(trial, reading, F.normalize(model.decoder.atoms[firings(z) > 0], dim=1)),
        "silent": dead(z) / z.width,
    }


def steered(trial: Trial, reading: Reading, directions: Tensor) -> float:
    """The mean KL of the outputs when one unit of a direction is added to all positions, over 64 directions drawn."""
    draw = torch.Generator().manual_seed(trial.seed + 1000)
    chosen = directions[torch.randperm(len(directions), generator=draw)[:64]]
    tokens, seen, _ = (part[:4] for part in reading.test)
    unit = seen[:, 1:].std()  # an activation's usual size in one direction
    plain = spliced(reading.model, tokens, reading.at, lambda a: a)
    moved = []
    for direction in chosen:

        def push(activation: Tensor, by: Tensor = unit * direction) -> Tensor:
            return activation + by

        moved.append(divergence(plain, spliced(reading.model, tokens, reading.at, push)).mean())
    return float(torch.stack(moved).mean())


PROOF = Proof(
    data="dictionary",
    data_options={"n": 64, "tests": 64},
    claims=Claim.read("""
        spliced in, it costs the model less, by a tenth:
            gradient/ce < 0.9 * topk/ce  (not at quick scale, refuted here)
            Post hoc: [changed]
        adding one of its atoms moves the output more:
            gradient/steering > topk/steering  (not at quick scale)
            Post hoc: [changed]
        told the gradients, it keeps latents that matter more to the loss than the largest do:
            gradient/influence > 1
            Post hoc: Added when the claims above were known to be inconclusive, of the mechanism and not of the
            result; the tenth that was asked first was not reached at quick scale.
        [changed] Beta, the method's default, was chosen after a look at one seed; seeds 0 to 2 were
            inconclusive on 128 stories, and a look at more of them gave 0.168 against 0.169. The claim was
            not touched.
        """),
    seeds=(100, 101, 102),
    quick={"steps": 80, "latents": 96, "k": 3, "lr/1000": 10, "contexts": 0},
    default={"steps": 1200, "batch_size": 256, "latents": 512, "k": 8, "lr/1000": 3, "contexts": 512},
    full={**FULL, "batch_size": 1024},
    notes="""
        The activations are the residual stream after the third of the story model's five layers, on stories that it
        wrote, with the gradient of its summed next-token loss; at quick scale a small untrained model whose logits
        read a quarter of the directions. `ce` is what the cross-entropy rises by, in nats, where all positions but
        the first are replaced by reconstructions. The gradients that rank the latents are there at the test too, and
        with them the tokens that the model is to predict: `ce without gradients` ranks by size alone there. Ranking
        by the product of size and effect alone, without the size beside it, tripled the rise of the cross-entropy in
        a first look (one seed, 400 steps); beta from 0.1 to 1 was looked at then, and 0.3 became the default. The
        authors measure GPT-2 small. `influence` is the mean over tokens of the sum of z |a . gradient| over the
        latents that are on, to first order what they do to the loss, as a multiple of what it is over those that the
        same model keeps without gradients. At quick scale that is all that is asked: of a dozen toys and sizes the
        first two claims stood on three seeds in one, and there not on nine.
        """,
)
