"""Does scaling what rounding leaves over keep the later codes of residual FSQ in use?"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from narrows.audit.metrics.usage import perplexity
from narrows.bottlenecks.discrete.residual_fsq import ResidualFSQ
from narrows.methods.quantised.fsq import fsq
from narrows.methods.quantised.residual_fsq import residual_fsq
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import FULL, QUICK, RATE, partial_sums
from narrows.proofs.quality import error
from narrows.proofs.reduced import reduced

__all__ = ["PROOF"]

LEVELS, DEPTH = (5, 5, 5), 3


def measure(trial: Trial) -> Mapping[str, float]:
    """Train with scaled and with plain residuals, and FSQ of one code a token; compare on test examples."""
    train, held, spec = reduced(trial.data, rows=60_000, tests=trial.budget["test"], binary=False)
    test = held.all()
    variance = float(test.x.var(0, correction=0).mean())
    options = {
        "spec": spec,
        "levels": LEVELS,
        "downsample": trial.budget["downsample"],
        "net": "conv:width=32",
        "likelihood": "squared",
        "prior": "none",
    }
    numbers: dict[str, float] = {}
    for name, scale in {"scaled": "levels", "plain": "none"}.items():
        model = trial.fit(trial.build(residual_fsq, depth=DEPTH, scale=scale, **options), train, lr=RATE)
        quantizer = model.bottleneck
        assert isinstance(quantizer, ResidualFSQ)
        last = model.as_symbols(test).x[..., -1]
        numbers[f"{name}/last-perplexity"] = perplexity(last, quantizer.codes)
        numbers[f"{name}/unexplained"] = error(model, test) / variance
        if name == "scaled":
            partial = [float((x - test.x).square().mean()) / variance for x in partial_sums(model, test)]
            numbers["scaled/largest_ratio"] = max(b / a for a, b in pairwise(partial))
    single = trial.fit(trial.build(fsq, **options), train, lr=RATE)
    numbers["single/unexplained"] = error(single, test) / variance
    return numbers


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        with residuals scaled to the range of the levels, the last of three codes of a token has a perplexity of at
        least 60, of 125 codes:
            scaled/last-perplexity > 60
        with residuals as they are, of at most a tenth of that:
            plain/last-perplexity < 0.1 * scaled/last-perplexity
        scaled residuals leave at most 0.8 of the variance that residuals as they are leave:
            scaled/unexplained < 0.8 * plain/unexplained  (not at quick scale)
        and at most 0.8 of what one code of FSQ leaves:
            scaled/unexplained < 0.8 * single/unexplained  (not at quick scale)
        every further code of a stack takes at least 2 % off what is left:
            scaled/largest_ratio < 0.98  (not at quick scale)
        """),
    quick={**QUICK, "steps": 30, "downsample": 2},
    default={"steps": 400, "batch_size": 64, "test": 2000, "downsample": 4},
    full=FULL,
    notes="""
        Images of 14 x 14 pixels, 4 x 4 tokens of three channels of five levels, convolutional networks of 32 channels,
        squared error. The paper compares naive residual FSQ with learned scales and normalised residuals, on speech and
        ImageNet; here the scale is that of the levels, which bounds the residual exactly. For an odd number of levels
        plain residuals all fall on the middle level, so that later codes say nothing.
        """,
)
