"""A weight on the von Neumann entropy of codes sets their effective rank, and costs no linear probe."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from narrows.methods.regularised.ae import ae
from narrows.objectives.entropy import code_entropy
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.probe import probe
from narrows.proofs.quality import error
from narrows.proofs.reduced import reduced

__all__ = ["PROOF"]

ALPHAS = {"more": 1.0, "none": 0.0, "less": -1.0}


def measure(trial: Trial) -> Mapping[str, float]:
    """Train autoencoders with entropies that are raised, free and lowered."""
    data = reduced(trial.data, rows=trial.budget["rows"], tests=trial.budget["test"], binary=False)
    train, test = data.train.all(), data.test.all()
    options = {"spec": data.spec, "latent": 32, "net": "mlp:256", "likelihood": "squared"}
    numbers: dict[str, float] = {}
    for name, alpha in ALPHAS.items():
        penalty = f"vne:alpha={alpha}" if alpha else "none"
        model = trial.fit(trial.build(ae, penalty=penalty, **options), data.train)
        with torch.no_grad():
            near, far = model.features(train), model.features(test)
        numbers[f"{name}/rank"] = float(code_entropy(far).exp())
        numbers[f"{name}/mse"] = error(model, test)
        assert data.train.labels is not None
        assert data.test.labels is not None
        numbers[f"{name}/probe"] = probe(near, data.train.labels, far, data.test.labels)
    return numbers


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        a positive weight at least doubles the effective rank of the codes:
            more/rank > 2 * none/rank  (not at quick scale)
        a negative one lowers it by a fifth at least:
            less/rank < 0.8 * none/rank  (not at quick scale)
        the order is that of the weights after few steps, too:
            more/rank > less/rank
        a linear probe of the codes of larger rank is at most a point worse:
            more/probe > none/probe - 0.01  (not at quick scale)
        the error on unseen images is at most a tenth higher:
            more/mse < 1.1 * none/mse  (not at quick scale)
        """),
    quick={"steps": 60, "rows": 500, "test": 300, "batch_size": 64},
    default={"steps": 800, "rows": 5000, "test": 2000, "batch_size": 128},
    full={"steps": 40_000, "rows": 60_000, "test": 10_000},
    notes="""
        Fashion-MNIST at 14 x 14, real values, squared error, codes of width 32, perceptrons, equal steps; weights 1, 0
        and -1. The effective rank is the exponential of the von Neumann entropy of the codes of the test part. The
        paper adds the entropy to self-supervised, meta-learning and adversarial methods.
        """,
)
