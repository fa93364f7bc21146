"""Feature Choice against TopK on examples that are not equally rich: no latent dies."""

from __future__ import annotations

from collections.abc import Mapping

from narrows.methods.sparse.feature_choice_sae import feature_choice_sae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.sparse._choices import DATA, NOTES, SCALES, ZIPF, against_topk

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train TopK, Feature Choice by Zipf's law, and Feature Choice with equal budgets."""
    variants = {
        "feature": (feature_choice_sae, {"zipf": ZIPF}),
        "equal": (feature_choice_sae, {"zipf": 0.0}),
    }
    return against_topk(trial, variants)


PROOF = Proof(
    method="feature-choice-sae",
    data="dictionary",
    data_options=DATA,
    claims=(
        Claim("next to no latent of Feature Choice is silent", "feature/silent", "<", 0.005),
        Claim("the number of latents follows the number of atoms", "feature/correlation", ">", 0.7),
        Claim("at most a tenth more latents are on than the budget", "feature/l0", "<", "budget", factor=1.1),
        Claim("budgets by Zipf's law explain more than equal ones", "feature/fvu", "<", "equal/fvu"),
    ),
    measure=measure,
    scales=SCALES,
    notes=NOTES,
)
