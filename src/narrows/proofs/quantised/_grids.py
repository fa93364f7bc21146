"""What the proofs of quantised autoencoders share: how large a token is, and how fast is learned."""

from __future__ import annotations

from narrows.core import Spec

__all__ = ["RATE", "stride"]

RATE = 3e-3
"""Learning rate of all: budgets are small."""


def stride(spec: Spec) -> int:
    """Pixels a token along each side: 4, and 2 where an image is small."""
    return 4 if len(spec.shape) < 3 or min(spec.shape[1:]) >= 16 else 2
