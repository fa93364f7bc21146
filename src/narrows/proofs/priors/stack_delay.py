"""Does the order stack-delay of the codes of stacks keep the bits of the flat order in a quarter of its steps?"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from narrows.methods.quantised.rq_vae import rq_vae
from narrows.priors.autoregressive import Autoregressive
from narrows.priors.pattern import PATTERNS
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import RATE
from narrows.proofs.quality import error
from narrows.proofs.second import fit_prior

__all__ = ["PROOF"]

DEPTH = 4


def measure(trial: Trial) -> Mapping[str, float]:
    """Train an RQ-VAE, and a causal prior over its stacks for each pattern; compare bits of test examples and steps."""
    budget = trial.budget
    base = trial.build(
        rq_vae,
        codes=budget["codes"],
        depth=DEPTH,
        width=8,
        downsample=16 if len(trial.data.spec.shape) == 2 else 2,
        net="conv:width=16",
        likelihood="squared",
        prior="none",
    )
    trial.fit(base, lr=RATE)
    test = trial.data.test.all(budget["test"])
    stacks = base.as_symbols(test).x
    numbers = {"rq/unexplained": error(base, test) / float(test.x.var(0, correction=0).mean())}
    for name in PATTERNS:
        prior = fit_prior(trial, base, f"autoregressive:pattern={name},width=64,depth=3")
        assert isinstance(prior, Autoregressive)
        with torch.no_grad():
            numbers[f"{name}/bits"] = float(prior.nll(stacks).mean()) / math.log(2) / stacks[0].numel()
        numbers[f"{name}/steps"] = float(stacks[0].numel() if prior.order is None else len(prior.order))
    return numbers


PROOF = Proof(
    data="tones",
    quick_data="digits",
    claims=Claim.read("""
        the bits of a code in the flat order are at most those of stack-delay, up to 1 %:
            flat/bits < 1.01 * stack-delay/bits  (not at quick scale)
        which takes less than 0.3 times the steps:
            stack-delay/steps < 0.3 * flat/steps  (not at quick scale)
        and no more than delay:
            stack-delay/steps < delay/steps + 0.5
        stack-delay has fewer bits than delay:
            stack-delay/bits < delay/bits  (not at quick scale, refuted here)
        which has fewer bits than stacks whose codes are drawn at once:
            delay/bits < parallel/bits  (not at quick scale, refuted here)
        """),
    quick={"steps": 6, "prior_steps": 2, "codes": 32, "test": 50, "batch_size": 32},
    default={"steps": 300, "prior_steps": 300, "codes": 64, "test": 1000, "batch_size": 32},
    full={"steps": 20_000, "prior_steps": 20_000, "test": 2000},
    notes="""
        Sounds of 512 samples, 32 frames of four codes of a shared codebook of 64, squared error. Transformers of 64
        channels and three blocks, equal steps, batches of 32 sounds. Steps are passes one after another while one
        sound is drawn. What is compared are exact bits of a code: codes of a step are independent given all earlier
        steps. The paper compares the sound of generated music. It keeps keys and values of some streams alone; here
        all earlier steps are seen, and frames are dealt to streams as runs of neighbours.
        """,
)
