"""What the proofs of Mutual and Feature Choice share: TopK beside them, on examples that are not equally rich."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from narrows.audit import sparsity
from narrows.core import Autoencoder
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.proofs.engine import Trial
from narrows.proofs.sparse.top_afa_sae import chosen, correlation

__all__ = ["DATA", "NOTES", "SCALES", "ZIPF", "against_topk"]

ZIPF = 0.6
DATA = {"d": 64, "atoms": 128, "l0": 8.0, "vary": 0.9, "zipf": ZIPF}
SCALES = {
    "quick": {"steps": 120, "batch_size": 256, "latents": 256, "k": 8},
    "default": {"steps": 800, "batch_size": 256, "latents": 256, "k": 8},
    "full": {"steps": 10_000, "batch_size": 2048, "latents": 512, "k": 8},
}
NOTES = (
    "128 atoms in 64 dimensions, their frequencies by Zipf's law with exponent 0.6, 0 to 27 of them on in an example, "
    "8 on average; 256 latents. All models are measured as they are used, one example at a time, by thresholds where "
    "they have them. `silent` is the share of latents that are on in no test example. The paper's data are "
    "activations of GPT-2."
)


def against_topk(
    trial: Trial, variants: Mapping[str, tuple[Callable[..., Autoencoder], Mapping[str, float]]]
) -> dict[str, float]:
    """Train TopK and the variants alike; error, L0, its correlation with the true count, and silent latents."""
    latents, k = trial.budget["latents"], trial.budget["k"]
    batch = trial.data.test.all(limit=4096)
    true = torch.from_numpy((trial.data.truth.test_codes != 0).sum(1)).double()[: len(batch)]
    numbers = {"budget": float(k)}
    for name, (builder, options) in {"topk": (topk_sae, {}), **variants}.items():
        model = trial.fit(trial.build(builder, latents=latents, k=k, **options), lr=1e-2)
        numbers[f"{name}/fvu"] = sparsity.fvu(batch.x, model.reconstruct(batch))
        numbers[f"{name}/l0"] = float(chosen(model, batch).mean())
        numbers[f"{name}/correlation"] = correlation(chosen(model, batch), true)
        numbers[f"{name}/silent"] = sparsity.dead(model.encode(batch).z) / latents
    return numbers
