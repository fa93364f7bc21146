"""The GAE: links that were held out are predicted as well as published, and better than without data of the nodes."""

from __future__ import annotations

from collections.abc import Mapping

from narrows.methods.structured.gae import gae
from narrows.proofs.engine import Proof, Trial
from narrows.proofs.links import EPOCHS, NOTES, claims, compare

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train with and without data of the nodes, on edges of this trial's own split."""
    return compare(trial, "gae", gae)


PROOF = Proof(
    data="cora",
    quick_data="sbm",
    claims=claims("gae", auc=0.910, ap=0.920, bare_auc=0.843, bare_ap=0.881),
    seeds=10,
    quick={"steps": EPOCHS},
    default={"steps": EPOCHS},
    notes=NOTES,
)
