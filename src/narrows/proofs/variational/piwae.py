"""PIWAE: the decoder learns as in an IWAE, the encoder from a gradient with less noise."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from narrows.methods.variational.iwae import iwae
from narrows.methods.variational.piwae import piwae
from narrows.objectives.importance import Importance, Partial
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.signal import BUDGETS, gaps, linear_model, signal_to_noise

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Signal-to-noise ratios with 64 samples, then two models with as many."""
    model, points = linear_model(trial.seed, trial.budget["points"])
    numbers: dict[str, float] = {}
    for name, objective in {"iwae": Importance(64), "piwae": Partial(8, estimates=8)}.items():
        found = signal_to_noise(objective, model, points, trial.budget["repeats"])
        numbers[f"{name}/encoder"], numbers[f"{name}/decoder"] = found
    arms = {"iwae": partial(iwae, samples=64), "piwae": partial(piwae, samples=8, estimates=8)}
    return {**numbers, **gaps(trial, arms)}


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        on a linear model, with 64 samples, the encoder's signal-to-noise ratio is at least twice that of the IWAE:
            piwae/encoder > 2 * iwae/encoder
        and the decoder's is not lower by a tenth:
            piwae/decoder > 0.9 * iwae/decoder  (not at quick scale)
        on images, q is nearer to the posterior:
            piwae/gap < iwae/gap  (not at quick scale)
        and log p(x) is not worse by half a per cent:
            piwae/nll < 1.005 * iwae/nll  (not at quick scale)
        """),
    quick=BUDGETS["quick"],
    default=BUDGETS["default"],
    full=BUDGETS["full"],
    notes="""
        Eight bounds of eight samples for the encoder. Linear model, images and estimates are those of the proof of
        `miwae`.
        """,
)
