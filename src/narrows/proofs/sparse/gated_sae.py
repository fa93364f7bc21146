"""Gated latents against an L1 price at equal L0, and at half of it, on a generated dictionary."""

from __future__ import annotations

from collections.abc import Mapping

from narrows.methods.sparse.gated_sae import gated_sae
from narrows.methods.sparse.relu_sae import relu_sae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.sparse._planted import FRONTIER, SCALES, WORLD, frontier, own_world, priced, shrinkage

__all__ = ["PROOF"]

AT = (4.0, 6.0, 8.0)
"""L0 at which errors are compared; 3 atoms are on."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Both at several L0, for as many steps and with dead latents resampled alike."""
    trial = own_world(trial)
    prices, at = priced(trial, (3.5, 5.0, 6.5, 8.5), AT)
    return {
        **frontier(trial, "gated", gated_sae, prices[:3], at[:2]),
        **frontier(trial, "relu", relu_sae, prices, at),
    }


PROOF = Proof(
    data="dictionary",
    data_options=WORLD,
    claims=(
        *(
            Claim(
                f"at L0 {l0:g} gated latents leave less variance unexplained than L1",
                f"gated/fvu_at_{l0:g} < 0.95 * relu/fvu_at_{l0:g}",
                quick=False,
                post_hoc=FRONTIER,
            )
            for l0 in AT[:2]
        ),
        *Claim.read("""
        half as many of them explain as much: 4 of them against 8 with L1:
            gated/fvu_at_4 < relu/fvu_at_8  (not at quick scale)
            Post hoc: Added with the frontiers, after looks at errors at other L0.
        """),
        *shrinkage("gated", "The gate", "gated latents", FRONTIER),
    ),
    seeds=(100, 101, 102),
    quick=SCALES["quick"],
    default=SCALES["default"],
    full=SCALES["full"],
    notes="""
        The paper's activations are a language model's; here data are sums of known atoms, so that shrinkage can be
        measured against the truth, in a world of its own for each seed. The weight of every price is steered to
        several L0 and the error between them is read from the frontier (`least_l0` and `most_l0` are its ends).
        Steps, learning rate, width and the resampling of dead latents are the same. Slope: latents against the true
        coefficients, where a latent has found an atom (cosine above 0.9) and both are on.
        """,
)
