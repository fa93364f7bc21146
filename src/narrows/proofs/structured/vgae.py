"""The VGAE: links that were held out are predicted as well as published, and better than without data of the nodes."""

from __future__ import annotations

from collections.abc import Mapping

from narrows.methods.structured.vgae import vgae
from narrows.proofs.engine import Trial
from narrows.proofs.links import claims, compare, proof

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train with and without data of the nodes, on edges of this trial's own split."""
    return compare(trial, "vgae", vgae)


PROOF = proof(claims("vgae", auc=0.914, ap=0.926, bare_auc=0.840, bare_ap=0.877))
