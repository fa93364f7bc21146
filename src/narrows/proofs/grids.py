"""What the proofs of quantised autoencoders share: how large a token is, and how fast is learned."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from narrows.audit.metrics.usage import code_counts
from narrows.bottlenecks.discrete.stacks import StackQuantizer
from narrows.core import Autoencoder, Batch, Spec
from narrows.core.evidence import Indices
from narrows.proofs.quality import decoded

__all__ = [
    "AVERAGED",
    "BUDGET",
    "FULL",
    "PLAIN",
    "QUICK",
    "RATE",
    "mistakes",
    "partial_sums",
    "small_grid",
    "stride",
    "used",
]

BUDGET = {"steps": 500, "prior_steps": 500, "test": 2000, "look": 400, "batch_size": 64}
"""Steps of both stages, examples to measure with, and steps of the classifier that looks at them."""
FULL = {"steps": 20_000, "prior_steps": 20_000, "test": 10_000}
"""What differs at full scale."""
QUICK = {"steps": 80, "test": 200, "look": 10, "batch_size": 32}
"""What differs at quick scale."""

RATE = 3e-3
"""Learning rate of all: budgets are small."""

PLAIN = "gradient:start=normal,restart=0"
"""The plain codebook of papers' comparisons: codes learned by gradient descent, none started or restarted at tokens."""
AVERAGED = "ema:start=normal,restart=0"
"""The same with moving averages."""


def stride(spec: Spec) -> int:
    """Pixels a token along each side: 4, and 2 where an image is small."""
    return 4 if len(spec.shape) < 3 or min(spec.shape[1:]) >= 16 else 2


def small_grid(spec: Spec) -> dict[str, Any]:
    """Options of quantised methods whose codebooks are compared: small networks, tokens of width 32, and no prior."""
    return {
        "width": 32,
        "downsample": stride(spec),
        "net": "conv:width=16",
        "likelihood": "squared",
        "prior": "none",
    }


@torch.no_grad()
def used(model: Autoencoder, test: Batch) -> float:
    """The share of the codes that some token of the test examples has."""
    found = model.encode(test)[Indices]
    return float((code_counts(found.indices, found.codes) > 0).double().mean())


@torch.no_grad()
def mistakes(model: Autoencoder, test: Batch) -> float:
    """How many numbers of the test examples' codes do not come back from their indices."""
    code = model.encode(test)
    return float((model.bottleneck.from_symbols(model.bottleneck.to_symbols(code)).z != code.z).sum())


@torch.no_grad()
def partial_sums(model: Autoencoder, test: Batch) -> list[Tensor]:
    """Reconstructions from the first code of every stack, from the first two, and so on."""
    quantizer = model.bottleneck
    assert isinstance(quantizer, StackQuantizer)
    indices = model.as_symbols(test).x
    depths = range(1, quantizer.depth + 1)
    return [decoded(model, quantizer.truncated(indices, depth)) for depth in depths]
