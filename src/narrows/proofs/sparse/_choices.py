"""What the proofs of Mutual and Feature Choice share: TopK beside them, on examples that are not equally rich."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from narrows.core import Autoencoder
from narrows.kernels import metrics as sparsity
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.proofs.engine import Trial
from narrows.proofs.sparse._counts import chosen, correlation
from narrows.proofs.sparse._planted import own_world

__all__ = ["DATA", "NOTES", "SCALES", "WIDTH", "ZIPF", "Variants", "against_topk"]

Variants = Mapping[str, tuple[Callable[..., Autoencoder], Mapping[str, Any]]]

ZIPF = 0.6
DATA = {"d": 64, "atoms": 128, "l0": 8.0, "vary": 0.9, "zipf": ZIPF}
SCALES = {
    "quick": {"steps": 150, "batch_size": 128, "latents": 128, "wide": 0, "k": 8, "rows": 4000},
    "default": {"steps": 800, "batch_size": 256, "latents": 128, "wide": 256, "k": 8, "rows": 20_000},
    "full": {"steps": 10_000, "batch_size": 2048, "latents": 128, "wide": 512, "k": 8, "rows": 100_000},
}
WIDTH = (
    "All models had 256 latents at first, twice as many as there are atoms; after a look at seeds 0 to 2 those with"
    " as many latents as atoms were added."
)
NOTES = (
    "128 atoms in 64 dimensions, their frequencies by Zipf's law with exponent 0.6, 0 to 27 of them on in an "
    "example, 8 on average; a world of its own for each seed. Numbers without `wide` are of models with as many "
    "latents as atoms, those with it of twice as many (half of which have no atom to find). All are measured as "
    "they are used, one example at a time, by thresholds where they have them. `silent` is the share of latents "
    "that are on in no test example. The paper's data are activations of GPT-2. "
)


def against_topk(trial: Trial, variants: Variants, wide: Variants) -> dict[str, float]:
    """Train TopK and the variants alike, then TopK and others with more latents, where the budget has them."""
    trial = own_world(trial, n=trial.budget["rows"], tests=max(1000, trial.budget["rows"] // 5))
    numbers = {"budget": float(trial.budget["k"]), **_compared(trial, variants, "", trial.budget["latents"])}
    if trial.budget["wide"]:
        numbers |= _compared(trial, wide, "wide/", trial.budget["wide"])
    return numbers


def _compared(trial: Trial, variants: Variants, prefix: str, latents: int) -> dict[str, float]:
    """Error, L0, its correlation with the true count, and silent latents of TopK and the variants."""
    numbers: dict[str, float] = {}
    batch = trial.data.test.all(limit=4096)
    true = torch.from_numpy((trial.data.truth.test_codes != 0).sum(1)).double()[: len(batch)]
    for name, (builder, options) in {"topk": (topk_sae, {}), **variants}.items():
        model = trial.build(builder, latents=latents, k=trial.budget["k"], **options)
        trial.fit(model, lr=1e-2)
        numbers[f"{prefix}{name}/fvu"] = sparsity.fvu(batch.x, model.reconstruct(batch))
        numbers[f"{prefix}{name}/l0"] = float(chosen(model, batch).mean())
        numbers[f"{prefix}{name}/correlation"] = correlation(chosen(model, batch), true)
        numbers[f"{prefix}{name}/silent"] = sparsity.dead(model.encode(batch).z) / latents
    return numbers
