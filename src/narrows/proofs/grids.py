"""What the proofs of quantised autoencoders share: how large a token is, and how fast is learned."""

from __future__ import annotations

from narrows.core import Spec

__all__ = ["BUDGET", "FULL", "QUICK", "RATE", "stride"]

BUDGET = {"steps": 500, "prior_steps": 500, "test": 2000, "look": 400, "batch_size": 64}
"""Steps of both stages, examples to measure with, and steps of the classifier that looks at them."""
FULL = {"steps": 20_000, "prior_steps": 20_000, "test": 10_000}
"""What differs at full scale."""
QUICK = {"steps": 80, "test": 200, "look": 10, "batch_size": 32}
"""What differs at quick scale."""

RATE = 3e-3
"""Learning rate of all: budgets are small."""


def stride(spec: Spec) -> int:
    """Pixels a token along each side: 4, and 2 where an image is small."""
    return 4 if len(spec.shape) < 3 or min(spec.shape[1:]) >= 16 else 2
