"""Do codebooks of groups of channels reach with little memory what a single codebook needs many codes for?"""

from __future__ import annotations

from collections.abc import Mapping

from narrows.audit.metrics.usage import perplexity
from narrows.core.evidence import Indices
from narrows.methods.quantised.product_vq import product_vq
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import FULL, QUICK, RATE
from narrows.proofs.quality import error
from narrows.proofs.reduced import reduced

__all__ = ["PROOF"]

WIDTH = 8


def measure(trial: Trial) -> Mapping[str, float]:
    """Train with two and four codebooks, and with single ones of equal bits and of equal memory; compare on test."""
    train, held, spec = reduced(trial.data, rows=60_000, tests=trial.budget["test"], binary=False)
    test, codes = held.all(), trial.budget["codes"]
    variance = float(test.x.var(0, correction=0).mean())
    options = {
        "spec": spec,
        "width": WIDTH,
        "downsample": trial.budget["downsample"],
        "net": "conv:width=32",
        "likelihood": "squared",
        "prior": "none",
    }
    models = {
        "two": trial.build(product_vq, codes=codes, groups=2, **options),
        "four": trial.build(product_vq, codes=codes, groups=4, **options),
        "bits": trial.build(vq_vae, codes=codes**2, **options),
        "memory": trial.build(vq_vae, codes=codes, **options),
    }
    numbers: dict[str, float] = {}
    for name, model in models.items():
        trial.fit(model, train, lr=RATE)
        numbers[f"{name}/unexplained"] = error(model, test) / variance
        found = model.encode_fixed(test)[Indices]
        stacks = found.indices if found.indices.ndim == 3 else found.indices[..., None]
        uses = [perplexity(one, found.codes) / found.codes for one in stacks.unbind(-1)]
        numbers[f"{name}/use"] = sum(uses) / len(uses)
    return numbers


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        with two codebooks of 32 codes the error is at most 1.1 times that of one of 1024 codes, which has as many bits
        and 32 times the memory:
            two/unexplained < 1.1 * bits/unexplained  (not at quick scale)
        with four, at most 0.7 of that of one of 32 codes, which has as much memory:
            four/unexplained < 0.7 * memory/unexplained  (not at quick scale)
        the perplexity of the small codebooks is a larger share of their size than that of the large one:
            two/use > bits/use  (not at quick scale)
        and at least 0.7:
            two/use > 0.7  (not at quick scale)
        four codebooks leave less of the variance than one with as much memory:
            four/unexplained < memory/unexplained
        """),
    quick={**QUICK, "steps": 60, "codes": 8, "downsample": 2},
    default={"steps": 400, "batch_size": 64, "test": 2000, "codes": 32, "downsample": 4},
    full=FULL,
    notes="""
        Images of 14 x 14 pixels, 4 x 4 tokens of width 8, convolutional networks of 32 channels, squared error, k-means
        start and restarts for all. The reference quantises given descriptors, for which the error with a product of
        codebooks can only be larger than with one of as many bits; an encoder can adapt to either.
        """,
)
