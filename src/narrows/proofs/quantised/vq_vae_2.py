"""Does a second, coarser grid of codes carry what is global, and does a prior over both grids sample?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from narrows.core import Autoencoder, Batch
from narrows.methods.quantised.vq_vae_2 import vq_vae_2
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import FULL, RATE, stride
from narrows.proofs.quality import decoded, distance, error, features, independent, reconstructed

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train two levels with their prior, and one; exchange the codes of a level, and sample."""
    budget = trial.budget
    test = trial.data.test.all(budget["test"])
    look = features(trial, budget["look"])
    options: dict[str, Any] = {
        "codes": budget["codes"],
        "width": 8,
        "downsample": stride(trial.data.spec),
        "net": "conv:width=32",
        "likelihood": "squared",
    }
    two = trial.build(vq_vae_2, prior="autoregressive:width=64,depth=2", **options)
    trial.fit(two, prior_steps=budget["prior_steps"], lr=RATE)
    one = trial.fit(trial.build(vq_vae_2, levels=1, prior="none", **options), lr=RATE)
    variance = float(test.x.var(0, correction=0).mean())
    with torch.no_grad():
        known = two.as_symbols(trial.data.train.all(budget["test"])).x
        drawn = independent(known, budget["codes"], len(test))
        positions = decoded(two, two.bottleneck.from_symbols(drawn).z)
        return {
            "two/unexplained": error(two, test) / variance,
            "one/unexplained": error(one, test) / variance,
            "top-exchanged/unexplained": exchanged(two, test) / variance,
            "prior/frechet": distance(look, two.sample(len(test)), test),
            "positions/frechet": distance(look, positions, test),
            "reconstructions/frechet": distance(look, reconstructed(two, test), test),
        }


@torch.no_grad()
def exchanged(model: Autoencoder, test: Batch) -> float:
    """The squared error of an element with the coarsest codes of another example."""
    layout = model.bottleneck.layout
    assert layout is not None
    indices = model.as_symbols(test).x.clone()
    top = layout.slices()[0]
    indices[:, top] = indices[:, top].roll(1, 0)
    made = decoded(model, model.bottleneck.from_symbols(indices).z)
    return float((made - test.target).square().mean())


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        a second, coarser grid of codes leaves at most 0.9 of the variance that the finer alone leaves:
            two/unexplained < 0.9 * one/unexplained  (not at quick scale)
        both are needed: the coarse codes of another example at least double it:
            top-exchanged/unexplained > 2 * two/unexplained  (not at quick scale, refuted here)
        and add to it:
            top-exchanged/unexplained > two/unexplained
        a prior that draws coarse codes first takes at least half off the Frechet distance of codes with the
        frequencies of their places:
            prior/frechet < 0.5 * positions/frechet  (not at quick scale)
        """),
    quick={"steps": 20, "prior_steps": 3, "test": 200, "look": 5, "codes": 32},
    default={"steps": 350, "prior_steps": 400, "test": 1000, "look": 400, "codes": 64, "batch_size": 48},
    full=FULL,
    notes="""
        Grids of 4 x 4 and 7 x 7 tokens of width 8 (digits: 2 x 2 and 4 x 4), 64 codes each: 96 and 294 bits. The finer
        alone is the same network with one level. Convolutional networks of 32 channels, squared error; one causal
        transformer over both grids in order, where the paper has a network with attention for each. Frechet distances
        are of 32 features of a small classifier.
        """,
)
