"""Does optimal transport between tokens and codes keep more of a codebook in use than gradients of chosen codes do?"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from narrows.audit.metrics.usage import perplexity
from narrows.core.evidence import Indices
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.methods.quantised.vq_wae import vq_wae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import PLAIN, RATE, small_grid, used
from narrows.proofs.quality import error

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VQ-WAE and a VQ-VAE whose codes are learned by gradient descent; compare use and errors."""
    test, codes = trial.data.test.all(trial.budget["test"]), trial.budget["codes"]
    options = {"codes": codes, **small_grid(trial.data.spec)}
    models = {"wae": trial.build(vq_wae, **options), "vq": trial.build(vq_vae, codebook=PLAIN, **options)}
    numbers: dict[str, float] = {}
    for name, model in models.items():
        trial.fit(model, lr=RATE)
        with torch.no_grad():
            indices = model.encode(test)[Indices].indices
        numbers[f"{name}/used"] = used(model, test)
        numbers[f"{name}/perplexity"] = perplexity(indices, codes)
        numbers[f"{name}/mse"] = error(model, test)
    return numbers


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        the perplexity of the codes is at least twice that of the VQ-VAE's:
            wae/perplexity > 2 * vq/perplexity  (not at quick scale)
        more of the codes are in use:
            wae/used > vq/used
        the error of reconstructions is no worse than 1.02 of the VQ-VAE's:
            wae/mse < 1.02 * vq/mse  (not at quick scale)
        """),
    quick={"steps": 25, "test": 359, "codes": 64},
    default={"steps": 500, "test": 5000, "codes": 512, "batch_size": 32},
    full={"steps": 40_000, "test": 10_000, "batch_size": 64},
    notes="""
        A grid of 7 x 7 tokens of width 32, convolutional networks of 16 channels, squared error. All codes start from
        normal draws, and none is restarted. The transport is the primal one, entropic, by Sinkhorn's iterations; the
        authors' code estimates the dual with a network.
        """,
)
