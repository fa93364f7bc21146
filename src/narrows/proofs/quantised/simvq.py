"""Does a codebook that is one linear map of fixed vectors stay in use as it grows, where a plain one does not?"""

from __future__ import annotations

from collections.abc import Mapping

from narrows.methods.quantised.simvq import simvq
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import PLAIN, RATE, mistakes, small_grid, used
from narrows.proofs.quality import error

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train SimVQ and a plain VQ with two sizes of the codebook; count the codes that the test examples use."""
    test = trial.data.test.all(trial.budget["test"])
    options = small_grid(trial.data.spec)
    numbers: dict[str, float] = {}
    for size in ("small", "large"):
        codes = trial.budget[size]
        linear = trial.build(simvq, codes=codes, **options)
        models = {"simvq": linear, "vq": trial.build(vq_vae, codes=codes, codebook=PLAIN, **options)}
        for name, model in models.items():
            trial.fit(model, lr=RATE)
            numbers[f"{name}-{size}/used"] = used(model, test)
            numbers[f"{name}-{size}/mse"] = error(model, test)
        numbers[f"simvq-{size}/mistakes"] = mistakes(linear, test)
    return numbers


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        SimVQ uses at least 90 % of the smaller codebook:
            simvq-small/used > 0.9  (not at quick scale)
            Post hoc: [width]
        and of the larger:
            simvq-large/used > 0.9  (not at quick scale)
            Post hoc: [width]
        the plain VQ uses at most half as large a share of the larger as of the smaller:
            vq-large/used < 0.5 * vq-small/used  (not at quick scale)
            Post hoc: [width]
        and less than 30 %:
            vq-large/used < 0.3  (not at quick scale)
            Post hoc: [width]
        at the larger size SimVQ's error is the lower one:
            simvq-large/mse < vq-large/mse  (not at quick scale)
            Post hoc: [width]
        and it is lower than at the smaller size:
            simvq-large/mse < simvq-small/mse  (not at quick scale)
            Post hoc: [width]
        indices are decoded by the vectors that were looked up:
            simvq-large/mistakes < 0.5
        [width] With tokens of width 8, seeds 0 to 2, the plain VQ used 45 % of the smaller and 41 % of the larger
            codebook; width 32, nearer to the paper's 128, after a pilot on seed 0.
        """),
    seeds=(100, 101, 102),
    quick={"steps": 25, "test": 359, "small": 32, "large": 256},
    default={"steps": 700, "test": 5000, "small": 1024, "large": 4096, "batch_size": 32},
    full={"steps": 40_000, "test": 10_000, "large": 65_536, "batch_size": 64},
    notes="""
        A grid of 7 x 7 tokens of width 32, convolutional networks of 16 channels, squared error. The plain VQ learns
        its codes by gradient descent from normal draws, and never restarts a code. SimVQ's linear map has a bias, as in
        the authors' code. The paper's sizes are ImageNet's, with perceptual and adversarial losses. `mistakes` counts
        the numbers of test codes that do not come back from their indices. With tokens of width 8 (seeds 0 to 2) SimVQ
        used 99.6 % and 95.6 % of the two codebooks, and its errors were those of the plain VQ: few dimensions keep a
        plain codebook in use too, as the paper says.
        """,
)
