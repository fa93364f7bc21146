"""MIWAE: the gradient's noise falls with the number of bounds, and inference comes nearer to the posterior."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from narrows.methods.variational.iwae import iwae
from narrows.methods.variational.miwae import miwae
from narrows.objectives.importance import Importance
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.signal import BUDGETS, gaps, linear_model, signal_to_noise, slope

__all__ = ["PROOF"]

SAMPLES, ESTIMATES = (4, 8, 16, 32, 64), (1, 2, 4, 8)


def measure(trial: Trial) -> Mapping[str, float]:
    """Signal-to-noise ratios over K and over M, then two models with 64 samples each."""
    model, points = linear_model(trial.seed, trial.budget["points"])

    def ratios(k: int, m: int = 1) -> tuple[float, float]:
        return signal_to_noise(Importance(k, estimates=m), model, points, trial.budget["repeats"])

    over_k, over_m = [ratios(k) for k in SAMPLES], [ratios(8, m) for m in ESTIMATES]
    numbers = {
        "iwae/encoder-slope": slope(SAMPLES, [encoder for encoder, _ in over_k]),
        "iwae/decoder-slope": slope(SAMPLES, [decoder for _, decoder in over_k]),
        "miwae/encoder-slope": slope(ESTIMATES, [encoder for encoder, _ in over_m]),
        "iwae/encoder": over_k[-1][0],
        "miwae/encoder": over_m[-1][0],
        "iwae/decoder": over_k[-1][1],
        "miwae/decoder": over_m[-1][1],
    }
    arms = {"iwae": partial(iwae, samples=64), "miwae": partial(miwae, samples=8, estimates=8)}
    return {**numbers, **gaps(trial, arms)}


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        on a linear model, the encoder's signal-to-noise ratio falls as the root of K:
            iwae/encoder-slope < -0.35  (not at quick scale)
        and not faster:
            iwae/encoder-slope > -0.65  (not at quick scale)
        the decoder's rises as the root of K:
            iwae/decoder-slope > 0.35  (not at quick scale)
        the encoder's rises with the number of bounds, as the root of M:
            miwae/encoder-slope > 0.35  (not at quick scale)
        of 64 samples, eight bounds have at least twice the ratio of one:
            miwae/encoder > 2 * iwae/encoder
        on images, q is nearer to the posterior:
            miwae/gap < iwae/gap  (not at quick scale)
        """),
    quick=BUDGETS["quick"],
    default=BUDGETS["default"],
    full=BUDGETS["full"],
    notes="""
        The linear model has 8 numbers and 3 latents, its true decoder, and a posterior that is off by half a standard
        deviation; 1,000 gradients are drawn at each of four points, K is 4 to 64, M is 1 to 8 at K = 8. Images are
        binary MNIST at 14 x 14; the gap is the estimate of log p(x) with 300 samples minus the evidence lower bound.
        """,
)
