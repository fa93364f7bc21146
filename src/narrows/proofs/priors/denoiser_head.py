"""Does a small denoiser draw tokens better than a Gaussian with the same transformer, and in few steps?"""

from __future__ import annotations

from collections.abc import Mapping

from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import QUICK
from narrows.proofs.second import real_grid

__all__ = ["PROOF"]

STEPS = 10


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VAE over a grid, and causal priors with two heads over draws of its codes; compare their samples."""
    first = real_grid(trial)
    numbers = first.floors()
    first.fit("givt:components=1,width=64,depth=2")
    numbers["gaussian/frechet"] = first.sampled()
    first.fit("denoiser-head:width=64,depth=2")
    for name, steps in {"denoiser": STEPS, "slow": 5 * STEPS}.items():
        numbers[f"{name}/frechet"] = first.sampled(steps=steps)
    numbers["one-step/frechet"] = first.sampled(steps=1, sampler="euler")
    return numbers


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        the Frechet distance of samples is at most 0.9 of that with single Gaussians in place of the denoiser:
            denoiser/frechet < 0.9 * gaussian/frechet  (not at quick scale)
        and at most half of that of draws from N(0, I):
            denoiser/frechet < 0.5 * normal/frechet  (not at quick scale)
        ten steps a token are as good as fifty, up to a tenth:
            denoiser/frechet < 1.1 * slow/frechet  (not at quick scale)
        decoded codes of test examples are nearer to the data than samples:
            codes/frechet < denoiser/frechet  (not at quick scale)
        and ten steps draw samples nearer to the data than one:
            denoiser/frechet < one-step/frechet
        """),
    quick={**QUICK, "steps": 10, "prior_steps": 5, "downsample": 4, "prior_batch": 32},
    default={
        "steps": 300,
        "prior_steps": 400,
        "prior_batch": 64,
        "test": 1000,
        "look": 400,
        "batch_size": 64,
        "downsample": 8,
    },
    full={"steps": 20_000, "prior_steps": 20_000, "test": 10_000},
    notes="""
        A grid of 4 x 4 tokens of four numbers (digits: 2 x 2), of a VAE with squared error and a KL divergence of
        weight 0.02. Both priors have the same transformer of 64 channels and two blocks and equal steps; the denoiser
        has two blocks, and four draws of time and noise a token in each step. The solver is Heun's; `one-step` is one
        step of Euler's method. `codes` are decoded draws of test examples' own posteriors, the floor of every prior.
        Frechet distances are of 32 features of a small classifier.
        """,
)
