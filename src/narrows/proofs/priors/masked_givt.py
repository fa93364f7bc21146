"""Do masked real tokens, several drawn per pass, sample as well as masked indices and as causal ones?"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from narrows.methods.quantised.vq_vae import vq_vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import QUICK, RATE
from narrows.proofs.quality import distance
from narrows.proofs.second import fit_prior, grid_options, real_grid

__all__ = ["PROOF"]

TEMPERATURE = 0.9
STEPS = 8


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VAE and a VQ-VAE over the same grid, masked priors over both and a causal one; compare samples."""
    budget = trial.budget
    first = real_grid(trial)
    numbers = first.floors()
    prior = first.fit("masked-givt:width=64,depth=2")
    numbers["masked/nll"] = first.nll(prior)
    numbers["masked/frechet"] = first.sampled(steps=STEPS, temperature=TEMPERATURE)
    numbers["one-pass/frechet"] = first.sampled(steps=1, temperature=TEMPERATURE)
    first.fit("givt:width=64,depth=2")
    numbers["causal/frechet"] = first.sampled(temperature=TEMPERATURE)
    tokens = trial.build(vq_vae, codes=budget["codes"], width=8, prior="none", **grid_options(trial))
    trial.fit(tokens, lr=RATE)
    fit_prior(trial, tokens, "maskgit:width=64,depth=2")
    with torch.no_grad():
        made = tokens.sample(len(first.test), steps=STEPS)
        numbers["maskgit/frechet"] = distance(first.look, made, first.test)
    return numbers


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        the Frechet distance of samples is at most that of masked indices of a VQ-VAE in as many passes, up to a tenth:
            masked/frechet < 1.1 * maskgit/frechet  (not at quick scale)
        and at most half of that of draws from N(0, I):
            masked/frechet < 0.5 * normal/frechet  (not at quick scale)
        several passes draw samples nearer to the data than a single one:
            masked/frechet < one-pass/frechet  (not at quick scale)
        the causal variant is better than masked indices:
            causal/frechet < maskgit/frechet  (not at quick scale)
        the bound of the density of test codes is above that of N(0, I):
            masked/nll < normal/nll
        """),
    quick={**QUICK, "steps": 10, "prior_steps": 20, "codes": 32, "downsample": 4, "prior_batch": 32},
    default={
        "steps": 300,
        "prior_steps": 400,
        "prior_batch": 64,
        "test": 1000,
        "look": 400,
        "batch_size": 64,
        "codes": 256,
        "downsample": 8,
    },
    full={"steps": 20_000, "prior_steps": 20_000, "test": 10_000},
    notes="""
        A grid of 4 x 4 tokens (digits: 2 x 2). The VAE has tokens of four numbers, squared error, and a KL divergence
        of weight 0.02; the VQ-VAE has 256 codes of width 8. All priors have a transformer of 64 channels and two
        blocks, and equal steps; both masked ones draw in eight passes. Deviations of mixtures are times 0.9, as with
        `givt`. Tasks other than generation, and images of 256 pixels, are not shown. `codes` are decoded draws of test
        examples' own posteriors. Frechet distances are of 32 features of a small classifier.
        """,
)
