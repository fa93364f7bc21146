"""Does a flow find more of the distribution of a VAE's codes than Gaussians do, and draw better samples from it?"""

from __future__ import annotations

from collections.abc import Mapping

from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.second import real_vector

__all__ = ["PROOF"]

LATENT = 8
PRIORS = {
    "nsf": "flow:kind=nsf,width=64,transforms=2",
    "maf": "flow:kind=maf,width=64,transforms=2",
    "gaussian": "gmm:components=1",
}


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VAE, then both flows on its codes; compare densities of test codes, and samples."""
    first = real_vector(trial, LATENT)
    floors = first.floors()
    numbers = {"standard/frechet": floors["normal/frechet"], "codes/frechet": floors["codes/frechet"]}
    for name, text in PRIORS.items():
        numbers[f"{name}/nll"] = first.nll(first.fit(text, lr=2e-3))
        numbers[f"{name}/frechet"] = first.sampled()
    return numbers


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        a spline flow finds at least 0.3 nats more in the codes of test images than a Gaussian with their covariance:
            nsf/nll < gaussian/nll - 0.3  (not at quick scale)
        an affine flow finds more, too:
            maf/nll < gaussian/nll  (not at quick scale)
        splines find at least as much as affine maps:
            nsf/nll < maf/nll  (not at quick scale)
        samples have at most 0.9 of the Frechet distance of decoded draws from N(0, I):
            nsf/frechet < 0.9 * standard/frechet  (not at quick scale)
        and at most 0.9 of that of draws from the Gaussian:
            nsf/frechet < 0.9 * gaussian/frechet  (not at quick scale)
        decoded codes of test images are nearer to the data than draws from N(0, I):
            codes/frechet < standard/frechet
        """),
    quick={"steps": 100, "prior_steps": 10, "rows": 1000, "test": 200, "look": 30, "batch_size": 64},
    default={"steps": 1500, "prior_steps": 600, "rows": 20_000, "test": 2000, "look": 300, "batch_size": 128},
    full={"steps": 40_000, "prior_steps": 40_000, "rows": 60_000, "test": 10_000},
    notes="""
        Binary MNIST at 14 x 14, codes of width 8, perceptrons; both flows, of two transformations of width 64, and the
        Gaussian share a trained VAE. Densities are of draws of test images' posteriors, and the priors are fitted to
        draws of training images'. `codes` are decoded draws of the test images' own posteriors, the floor of every
        prior. Frechet distances are of 32 features of a small classifier. The papers fit their flows to data and to
        posteriors, not to codes.
        """,
)
