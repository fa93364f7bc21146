"""The ladder VAE: inferred from the top down, the upper layers of a hierarchy stay in use."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from narrows.audit.evidence.likelihood import importance_nll
from narrows.core import seeded
from narrows.methods.variational.ladder_vae import ladder_vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.reduced import reduced

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train one hierarchy with both directions of inference, networks, warm-up and steps being equal."""
    data = reduced(trial.data, rows=trial.budget["rows"])
    test, numbers = data.test.all(), {}
    for name, inference in (("ladder", "top-down"), ("chain", "bottom-up")):
        model = trial.build(
            ladder_vae,
            spec=data.spec,
            latent=16,
            layers=3,
            width=128,
            net="mlp:128",
            beta=f"linear:0:1:{trial.budget['warmup']}",
            inference=inference,
        )
        trial.fit(model, data.train, lr=trial.budget["lr_e4"] * 1e-4)
        with torch.no_grad(), seeded(trial.seed):
            costs = model.encode(test, (8,)).costs
        numbers[f"{name}/bound"] = float(importance_nll(model, test, samples=1).mean())
        numbers[f"{name}/rate-above"] = float(costs["kl/1"].mean() + costs["kl/2"].mean())
    return numbers


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        the layers above the first carry more nats:
            ladder/rate-above > chain/rate-above  (not at quick scale)
            Post hoc: [softplus]
        the bound on -log p(x) is lower:
            ladder/bound < chain/bound
            Post hoc: [softplus]
        [softplus] The variances became the paper's softplus after seeds 0 to 2, with exponentials, were
            inconclusive.
        """),
    seeds=(100, 101, 102),
    quick={"steps": 100, "rows": 1438, "warmup": 50, "batch_size": 64, "lr_e4": 30},
    default={"steps": 3000, "rows": 20_000, "warmup": 1500, "batch_size": 128, "lr_e4": 20},
    full={"steps": 100_000, "rows": 60_000, "warmup": 20_000, "batch_size": 256, "lr_e4": 10},
    notes="""
        Images are averaged to 14 x 14 and binarised; three stochastic layers of 16, 8 and 4 latents, both with the
        same warm-up. Normalised over features, where the paper normalises over the batch. With variances that are
        exponentials, not softplus as in the paper, single draws cost the bottom-up chain thousands of nats in two of
        three seeds: an earlier run was inconclusive for that. In a later run, whose verdict was `reproduced post hoc`
        (bounds of 32.1 and 32.7), the chain was trained on a divergence that took each group as independent of the one
        above it, which is not that of its posterior; it was measured again once that was mended, with nothing else
        changed.
        """,
)
