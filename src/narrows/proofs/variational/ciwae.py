"""CIWAE: with a share of the evidence lower bound the encoder's gradient does not vanish in noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from narrows.core import Objective
from narrows.methods.variational.ciwae import ciwae
from narrows.methods.variational.iwae import iwae
from narrows.objectives.importance import Combined, Importance
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.signal import BUDGETS, gaps, linear_model, signal_to_noise, slope

__all__ = ["PROOF"]

SAMPLES = (4, 8, 16, 32, 64)


def measure(trial: Trial) -> Mapping[str, float]:
    """Signal-to-noise ratios over K, then two models with 64 samples each."""
    model, points = linear_model(trial.seed, trial.budget["points"])
    objectives: dict[str, Callable[[int], Objective]] = {
        "iwae": Importance,
        "ciwae": partial(Combined, beta=0.5),
    }
    numbers: dict[str, float] = {}
    for name, objective in objectives.items():
        ratios = [signal_to_noise(objective(k), model, points, trial.budget["repeats"]) for k in SAMPLES]
        numbers[f"{name}/encoder-slope"] = slope(SAMPLES, [encoder for encoder, _ in ratios])
        numbers[f"{name}/encoder"], numbers[f"{name}/decoder"] = ratios[-1]
    arms = {"iwae": partial(iwae, samples=64), "ciwae": partial(ciwae, samples=64, beta=0.5)}
    return {**numbers, **gaps(trial, arms)}


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        on a linear model, the encoder's signal-to-noise ratio does not fall with K:
            ciwae/encoder-slope > 0  (not at quick scale)
        as that of the importance-weighted bound does:
            iwae/encoder-slope < -0.35  (not at quick scale)
        with 64 samples it is at least twice as large:
            ciwae/encoder > 2 * iwae/encoder
        on images, q is nearer to the posterior:
            ciwae/gap < iwae/gap  (not at quick scale)
        and log p(x) is not worse by one per cent:
            ciwae/nll < 1.01 * iwae/nll  (not at quick scale)
        """),
    quick=BUDGETS["quick"],
    default=BUDGETS["default"],
    full=BUDGETS["full"],
    notes="""
        Half the objective is the evidence lower bound. Linear model, images and estimates are those of the proof of
        `miwae`.
        """,
)
