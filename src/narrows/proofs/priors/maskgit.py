"""Does MaskGIT draw in eight passes what a causal transformer draws in one for each token?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from narrows.methods.quantised.vq_vae import vq_vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import BUDGET, FULL, QUICK
from narrows.proofs.quality import decoded, distance, features, independent, reconstructed

__all__ = ["PROOF"]

PASSES = 8
RATE = 3e-3


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VQ-VAE once, and two priors over its indices; compare samples by their passes through the prior."""
    test, codes = trial.data.test.all(trial.budget["test"]), trial.budget["codes"]
    look = features(trial, trial.budget["look"])
    options = {
        "codes": codes,
        "width": 8,
        "downsample": trial.budget["downsample"],
        "net": "conv:width=32",
        "likelihood": "squared",
    }
    base = trial.fit(trial.build(vq_vae, prior="none", **options), lr=RATE)
    numbers = {"reconstructions/frechet": distance(look, reconstructed(base, test), test)}
    known = base.as_symbols(trial.data.train.all(trial.budget["test"])).x
    drawn = independent(known, codes, len(test))
    numbers["positions/frechet"] = distance(look, decoded(base, base.bottleneck.from_symbols(drawn).z), test)
    for name in ("ar", "maskgit"):
        model = trial.build(vq_vae, prior=f"{name}:width=64,depth=3", **options)
        model.load_state_dict(base.state_dict(), strict=False)
        trial.fit(model, finished=("autoencoder",), steps=trial.budget["prior_steps"], lr=RATE)
        with torch.no_grad():
            steps = {"maskgit": PASSES, "one-pass": 1} if name == "maskgit" else {"ar": 0}
            for said, passes in steps.items():
                how: dict[str, Any] = {"steps": passes} if passes else {}
                numbers[f"{said}/frechet"] = distance(look, model.sample(len(test), **how), test)
    return numbers


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        in 8 passes the Frechet distance of samples is at most a tenth above that of a causal prior's, which takes a
        pass for each of 49 tokens:
            maskgit/frechet < 1.1 * ar/frechet  (not at quick scale)
        and at most three quarters of that of codes with the frequencies of their places:
            maskgit/frechet < 0.75 * positions/frechet  (not at quick scale)
        and at most 0.8 of that of its own draws in a single pass:
            maskgit/frechet < 0.8 * one-pass/frechet  (not at quick scale)
        reconstructions are nearer to the data than its samples:
            reconstructions/frechet < maskgit/frechet
        """),
    quick={**QUICK, "prior_steps": 5, "downsample": 2},
    default={**BUDGET, "prior_steps": 900, "codes": 128, "downsample": 4},
    full=FULL,
    notes="""
        A grid of 7 x 7 tokens (digits: 4 x 4) of a VQ-VAE that both priors share, transformers of 64 channels and
        three blocks, equal steps. What is counted are passes one after the other, as in the paper: with cached keys
        and values the causal prior computes fewer products in all than eight passes over all tokens. Frechet
        distances are of 32 features of a small classifier.
        """,
)
