"""Does diffusion draw better codes than Gaussians and as good ones as flow matching, and do few steps suffice?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.second import real_vector

__all__ = ["PROOF"]

LATENT = 16
PRIORS = {
    "gaussian": "gmm:components=1",
    "gmm": "gmm:components=10",
    "diffusion": "diffusion:width=128,depth=3",
    "flow-matching": "flow-matching:width=128,depth=3",
}
DRAWS: Mapping[str, Mapping[str, Any]] = {
    "diffusion": {"steps": 20, "sampler": "ddim"},
    "ancestral": {"steps": 200, "sampler": "ddpm"},
    "heun": {"steps": 10, "sampler": "heun"},
    "one-step": {"steps": 1, "sampler": "ddim"},
}
"""The ways to draw from the same net."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VAE, then both priors on its codes; compare densities of test codes, and samples."""
    first = real_vector(trial, LATENT)
    floors = first.floors()
    numbers = {"standard/frechet": floors["normal/frechet"], "codes/frechet": floors["codes/frechet"]}
    for name, text in PRIORS.items():
        prior = first.fit(text, lr=2e-3)
        if name != "flow-matching":
            numbers[f"{name}/nll"] = first.nll(prior)
        for said, how in (DRAWS if name == "diffusion" else {name: {}}).items():
            numbers[f"{said}/frechet"] = first.sampled(**how)
    return numbers


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        samples of 20 steps of ddim have at most 0.9 of the Frechet distance of decoded draws from N(0, I):
            diffusion/frechet < 0.9 * standard/frechet  (not at quick scale)
        and at most half of that of draws from one Gaussian with the codes' covariance:
            diffusion/frechet < 0.5 * gaussian/frechet  (not at quick scale, refuted here)
        and less than that of draws from a mixture of ten:
            diffusion/frechet < gmm/frechet  (not at quick scale, refuted here)
        and at most 1.1 of that of flow matching with a net of the same size, and as many steps of training:
            diffusion/frechet < 1.1 * flow-matching/frechet  (not at quick scale)
        and at most 1.1 of that of ancestral sampling in 200 steps:
            diffusion/frechet < 1.1 * ancestral/frechet  (not at quick scale)
        ancestral sampling is no worse than ddim by more than a tenth, either:
            ancestral/frechet < 1.1 * diffusion/frechet  (not at quick scale)
        the bound of test codes is at least 0.3 nats below -log p of the Gaussian:
            diffusion/nll < gaussian/nll - 0.3  (not at quick scale)
        samples of 20 steps are nearer to the data than those of one:
            diffusion/frechet < one-step/frechet
        """),
    seeds=(100, 101, 102),
    quick={"steps": 80, "prior_steps": 40, "rows": 1000, "test": 200, "look": 30, "batch_size": 64},
    default={
        "steps": 1500,
        "prior_steps": 2000,
        "rows": 20_000,
        "test": 2000,
        "look": 300,
        "batch_size": 128,
    },
    full={"steps": 40_000, "prior_steps": 100_000, "rows": 60_000, "test": 10_000},
    notes="""
        Binary MNIST at 14 x 14, codes of width 16, perceptrons; all priors share a trained VAE and are
        fitted to draws of its training codes. Diffusion predicts the velocity on the path of the paper;
        flow matching is drawn by 20 steps of Heun's method. `codes` are decoded draws of test images' own
        posteriors, the floor of every prior. The paper models pixels, not codes, and with far larger nets.
        A first run, with seeds 0 to 2, predicted the noise, and the net had no scale by the level of noise:
        0.42 beside 0.30 of flow matching and 0.28 of the mixture. Then the default prediction and the scale
        were changed, for flow matching too, the claims not.
        """,
)
