"""Does a flow of causal transformers find more of the codes' distribution than Gaussians and splines?"""

from __future__ import annotations

from collections.abc import Mapping

from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import QUICK
from narrows.proofs.second import real_grid

__all__ = ["PROOF"]

PRIORS = {
    "deep": "starflow:blocks=4,depth=3,shallow=1,width=48",
    "even": "tarflow:blocks=3,depth=2,width=48",
    "splines": "flow:width=64",
    "mixture": "gmm:components=10",
    "gaussian": "gmm:components=1",
}


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VAE over a grid, and priors over draws of its codes; compare densities of test codes and samples."""
    first = real_grid(trial)
    numbers = first.floors()
    for name, text in PRIORS.items():
        numbers[f"{name}/nll"] = first.nll(first.fit(text))
        if name in ("deep", "gaussian"):
            numbers[f"{name}/frechet"] = first.sampled()
    return numbers


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        the density of test codes is at least 0.5 nats above that of one Gaussian with their covariance:
            deep/nll < gaussian/nll - 0.5  (not at quick scale, refuted here)
        and no worse than that of a mixture of ten Gaussians:
            deep/nll < mixture/nll  (not at quick scale, refuted here)
        and than that of an autoregressive flow of splines:
            deep/nll < splines/nll  (not at quick scale, refuted here)
        and than that of N(0, I):
            deep/nll < normal/nll
        one deep block and three shallow ones are no worse than three blocks with as many layers, up to 0.5 nats:
            deep/nll < even/nll + 0.5  (not at quick scale)
        the Frechet distance of samples is at most 0.8 of that of draws from N(0, I):
            deep/frechet < 0.8 * normal/frechet  (not at quick scale)
        """),
    quick={**QUICK, "steps": 10, "prior_steps": 20, "downsample": 4, "prior_batch": 32},
    default={
        "steps": 300,
        "prior_steps": 300,
        "prior_batch": 64,
        "test": 1000,
        "look": 400,
        "batch_size": 64,
        "downsample": 8,
    },
    full={"steps": 20_000, "prior_steps": 20_000, "test": 10_000},
    notes="""
        A grid of 4 x 4 tokens of four numbers (digits: 2 x 2), of a VAE with squared error and a KL divergence of
        weight 0.02. Flows of transformers have 48 channels and six layers; the splines are three transformations of
        width 64. Densities are of one draw from the posterior of each test example; no further noise is added, and the
        decoder is not tuned. `codes` are decoded draws of test examples' own posteriors, the floor of every prior.
        Frechet distances are of 32 features of a small classifier.
        """,
)
