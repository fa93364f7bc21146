"""Proofs on activations of a small text encoder."""

from __future__ import annotations

from typing import Any

from narrows.proofs.engine import Claim, Proof

__all__ = ["on_activations"]


def on_activations(claims: str, **told: Any) -> Proof:
    """A proof on 20,000 activations, at quick scale on a generated dictionary; asked on seeds nobody had looked at.

    Args:
        claims: see `Claim.read`.
        told: budgets and notes, see `Proof`.
    """
    return Proof(
        "minilm",
        Claim.read(claims),
        data_options={"tokens": 20_000},
        quick_data="dictionary",
        seeds=(100, 101, 102),
        **told,
    )
