"""Does a prior draw grids of codes from coarse to fine, each in one pass, as well as one code after another?"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from narrows.bottlenecks.discrete.scales import ScaleQuantizer
from narrows.core import Autoencoder, Batch
from narrows.methods.quantised.var_tokenizer import var_tokenizer
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import FULL, RATE, stride
from narrows.proofs.quality import decoded, distance, features, independent, reconstructed

__all__ = ["PROOF"]

PRIORS = {
    "next": "next-scale",
    "refined": "next-scale:refiner=1",
    "within": "next-scale:attention=within-scale",
    "flat": "autoregressive",
}


def measure(trial: Trial) -> Mapping[str, float]:
    """Train one tokenizer, and priors over its indices; count what a draw costs and compare samples."""
    budget = trial.budget
    test, codes = trial.data.test.all(budget["test"]), budget["codes"]
    look = features(trial, budget["look"])
    options: dict[str, Any] = {
        "codes": codes,
        "width": 8,
        "downsample": stride(trial.data.spec),
        "net": "conv:width=32",
        "likelihood": "squared",
    }
    base = trial.fit(trial.build(var_tokenizer, prior="none", **options), lr=RATE)
    numbers = scales(base, test)
    known = base.as_symbols(trial.data.train.all(budget["test"])).x
    drawn = independent(known, codes, len(test))
    numbers["positions/frechet"] = distance(look, decoded(base, base.bottleneck.from_symbols(drawn).z), test)
    numbers["reconstructions/frechet"] = distance(look, reconstructed(base, test), test)
    indices = base.as_symbols(test).x
    for name, spelled in PRIORS.items():
        said = ":" if ":" not in spelled else ","
        model = trial.build(var_tokenizer, prior=f"{spelled}{said}width=64,depth=2", **options)
        model.load_state_dict(base.state_dict(), strict=False)
        trial.fit(model, finished=("autoencoder",), steps=budget["prior_steps"], lr=RATE)
        prior = model.prior
        assert prior is not None
        with torch.no_grad():
            numbers[f"{name}/nll"] = float(prior.nll(indices).mean())
            numbers[f"{name}/frechet"] = distance(look, model.sample(len(test)), test)
            with FlopCounterMode(display=False) as counter:
                prior.sample(1)
        numbers[f"{name}/operations"] = float(counter.get_total_flops())
    return numbers


@torch.no_grad()
def scales(model: Autoencoder, test: Batch) -> dict[str, float]:
    """The share of the variance that codes of the first grids leave, and the largest ratio from grid to grid."""
    assert isinstance(model.bottleneck, ScaleQuantizer)
    variance = float(test.x.var(0, correction=0).mean())
    sums = model.bottleneck.partial(model.as_symbols(test).x)
    left = [float((decoded(model, z) - test.x).square().mean()) / variance for z in sums]
    named = {f"scales/unexplained/{i}": value for i, value in enumerate(left, 1)}
    return {**named, "scales/largest_ratio": max(b / a for a, b in pairwise(left))}


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        every further grid takes at least a tenth off the variance that the coarser grids leave:
            scales/largest_ratio < 0.9  (not at quick scale)
        a prior that draws one grid per pass halves the Frechet distance of codes with the frequencies of their places:
            next/frechet < 0.5 * positions/frechet  (not at quick scale)
        and is at most a tenth above that of a causal prior, which takes a pass for each code:
            next/frechet < 1.1 * flat/frechet  (not at quick scale)
        a smaller second transformer for the finest grid halves the operations of a draw:
            refined/operations < 0.5 * next/operations  (refuted here)
        and adds at most a tenth to the distance:
            refined/frechet < 1.1 * next/frechet  (not at quick scale)
        without attention between grids the likelihood is at most 2 % worse, in nats:
            within/nll < 1.02 * next/nll  (not at quick scale)
        """),
    quick={"steps": 5, "prior_steps": 2, "test": 100, "look": 5, "codes": 32},
    default={
        "steps": 300,
        "prior_steps": 200,
        "test": 1000,
        "look": 400,
        "codes": 64,
        "batch_size": 32,
    },
    full=FULL,
    notes="""
        Grids of 2 x 2, 4 x 4 and 7 x 7 codes of width 8 (digits: 1 x 1, 2 x 2, 4 x 4), one codebook of 64 codes.
        Convolutional networks of 32 channels, squared error. All priors have two blocks of 64 channels, the second
        transformer 32, and learn from the same codes. Codes of a grid are drawn independently of each other given the
        coarser grids, so that their likelihood is that of a narrower family than the causal prior's. Operations are
        those of matrix products while one example is drawn with cached keys and values. Frechet distances are of 32
        features of a small classifier.
        """,
)
