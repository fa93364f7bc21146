"""Do codes that move to tokens while they are unused keep a large codebook in use, at a lower error?"""

from __future__ import annotations

from collections.abc import Mapping

from narrows.methods.quantised.cvq_vae import cvq_vae
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import AVERAGED, PLAIN, RATE, small_grid, used
from narrows.proofs.quality import error

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train CVQ and two plain VQs, by gradient and by EMA, with two sizes of the codebook; count the codes in use."""
    test = trial.data.test.all(trial.budget["test"])
    options = small_grid(trial.data.spec)
    numbers: dict[str, float] = {}
    for size in ("small", "large"):
        codes = trial.budget[size]
        models = {
            "cvq": trial.build(cvq_vae, codes=codes, **options),
            "gradient": trial.build(vq_vae, codes=codes, codebook=PLAIN, **options),
            "ema": trial.build(vq_vae, codes=codes, codebook=AVERAGED, **options),
        }
        for name, model in models.items():
            trial.fit(model, lr=RATE)
            numbers[f"{name}-{size}/used"] = used(model, test)
            numbers[f"{name}-{size}/mse"] = error(model, test)
    return numbers


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        CVQ uses at least 95 % of the smaller codebook:
            cvq-small/used > 0.95  (not at quick scale)
        and of the larger:
            cvq-large/used > 0.95  (not at quick scale, refuted here)
        a VQ that learns by gradient descent uses at most half as many of the larger:
            gradient-large/used < 0.5 * cvq-large/used
        so does one that learns by moving averages:
            ema-large/used < 0.5 * cvq-large/used
        CVQ's error is lower than that of the former at the smaller size:
            cvq-small/mse < gradient-small/mse  (not at quick scale)
        and at the larger:
            cvq-large/mse < gradient-large/mse  (not at quick scale)
        and than that of the latter at the smaller size:
            cvq-small/mse < ema-small/mse  (not at quick scale)
        and at the larger:
            cvq-large/mse < ema-large/mse  (not at quick scale)
        """),
    quick={"steps": 20, "test": 359, "small": 64, "large": 256},
    default={"steps": 300, "test": 5000, "small": 512, "large": 2048, "batch_size": 32},
    full={"steps": 40_000, "test": 10_000, "batch_size": 64},
    notes="""
        A grid of 7 x 7 tokens of width 32, convolutional networks of 16 channels, squared error. All codes start from
        normal draws; the rivals never restart a code. Anchors are drawn by the softmax of negative squared distances,
        as in the authors' code, and there is no contrastive loss. After 300 steps of 32 images 84 % of the larger
        codebook were in use, where the paper has all after epochs of them; both rivals used less than 4 %. Other
        settings were not tried.
        """,
)
