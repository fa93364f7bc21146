"""AutoGen: the distortion weighed by 1 + m keeps the code in use, though the decoder reads all previous tokens."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from narrows.core.vocabulary import PAD
from narrows.methods.variational.autogen import autogen
from narrows.proofs.engine import Claim, Proof, Trial

__all__ = ["PROOF"]

_TEXTS = 1000
"""Test texts that are measured, unless the budget has another number."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Train with m = 0 (the VAE), 1 and 3, all else being equal."""
    batch, numbers = trial.data.test.all(trial.budget.get("texts", _TEXTS)), dict[str, float]()
    rnn = f"gru:width={trial.budget['width']}"
    for m in (0, 1, 3):
        model = trial.build(autogen, m=m, latent=16, rnn=rnn, embedding=32)
        trial.fit(model, lr=3e-3, clip=5.0)
        with torch.no_grad():
            passed = model(batch)
            right = model.likelihood.teacher_forced(passed) == batch.x
            distortion = float(model.likelihood.pass_nll(passed).mean())
        counts = batch.x != PAD
        numbers |= {
            f"m={m}/rate": float(passed.code.costs["kl"].mean()),
            f"m={m}/accuracy": float(right[counts].float().mean()),
            f"m={m}/distortion": distortion,
        }
    return numbers


PROOF = Proof(
    data="names",
    quick_data="grammar",
    claims=Claim.read("""
        without further reconstructions the code is hardly used:
            m=0/rate < 0.5  (not at quick scale)
        with one, it carries at least 1 nat more:
            m=1/rate > m=0/rate + 1  (not at quick scale)
        with three, at least 2 nats more than with one:
            m=3/rate > m=1/rate + 2  (not at quick scale)
        with three, more than without:
            m=3/rate > m=0/rate
        with one, at least 2 % more of the tokens are predicted from the code and the true tokens before them:
            m=1/accuracy > m=0/accuracy + 0.02  (not at quick scale)
        with three, at least 5 % more than with one:
            m=3/accuracy > m=1/accuracy + 0.05  (not at quick scale)
        """),
    quick={"steps": 25, "width": 16, "batch_size": 16, "texts": 100},
    default={"steps": 600, "width": 64, "batch_size": 32},
    full={"steps": 20_000, "width": 256, "batch_size": 64},
    notes="""
        Characters of first names, where the paper has sentences of the BookCorpus; no annealing and no word dropout.
        Rate and distortion are those of the posterior means.
        """,
)
