"""Do stacks of codes keep more than a larger codebook, and does a prior draw them stack by stack with less work?"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch.utils.flop_counter import FlopCounterMode

from narrows.core import Prior
from narrows.methods.quantised.rq_vae import rq_vae
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.nets.vit import TransformerBlocks
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import BUDGET, FULL, QUICK, RATE, partial_sums
from narrows.proofs.quality import decoded, distance, error, features, independent
from narrows.proofs.reduced import reduced

__all__ = ["PROOF"]

DEPTH = 4
WIDTH = 8


def measure(trial: Trial) -> Mapping[str, float]:
    """Train an RQ-VAE, VQ-VAEs of one code a token, and two priors over the same stacks; compare on test examples."""
    budget, codes = trial.budget, trial.budget["codes"]
    train, held, spec = reduced(trial.data, rows=budget["rows"], tests=budget["test"], binary=False)
    test, look = held.all(), features(trial, budget["look"], train)
    options = {
        "spec": spec,
        "width": WIDTH,
        "downsample": budget["downsample"],
        "net": "conv:width=32",
        "likelihood": "squared",
    }
    stacked = trial.build(rq_vae, codes=codes, depth=DEPTH, prior="none", **options)
    trial.fit(stacked, train, lr=RATE)
    variance = float(test.x.var(0, correction=0).mean())
    partial = [float((x - test.x).square().mean()) / variance for x in partial_sums(stacked, test)]
    numbers = {f"rq/unexplained/{d}": value for d, value in enumerate(partial, 1)}
    numbers["rq/largest_ratio"] = max(b / a for a, b in pairwise(partial))
    for name, size in {"vq": codes, "large": budget["large"]}.items():
        plain = trial.fit(trial.build(vq_vae, codes=size, prior="none", **options), train, lr=RATE)
        numbers[f"{name}/unexplained"] = error(plain, test) / variance
    known = stacked.as_symbols(train.all(budget["test"])).x
    drawn = independent(known.flatten(1), codes, len(test)).view(len(test), *known.shape[1:])
    numbers["positions/frechet"] = distance(
        look, decoded(stacked, stacked.bottleneck.from_symbols(drawn).z), test
    )
    for name, spelled in {
        "rq": "rq-transformer:depth=3,head_depth=1",
        "flat": "autoregressive:depth=4",
    }.items():
        model = trial.build(rq_vae, codes=codes, depth=DEPTH, prior=f"{spelled},width=64", **options)
        model.load_state_dict(stacked.state_dict(), strict=False)
        trial.fit(model, train, finished=("autoencoder",), steps=budget["prior_steps"], lr=RATE)
        assert model.prior is not None
        with torch.no_grad():
            numbers[f"{name}/nll"] = float(model.prior.nll(model.as_symbols(test).x).mean())
            numbers[f"{name}/frechet"] = distance(look, model.sample(len(test)), test)
        numbers[f"{name}/operations"], numbers[f"{name}/passes"] = work(model.prior)
    return numbers


def work(prior: Prior) -> tuple[float, float]:
    """Of one drawn example: additions and multiplications of matrix products, and blocks run one after the other."""
    blocks = [
        block for part in prior.modules() if isinstance(part, TransformerBlocks) for block in part.blocks
    ]
    passes: list[None] = []
    hooks = [block.register_forward_hook(lambda *_: passes.append(None)) for block in blocks]
    with FlopCounterMode(display=False) as counter:
        prior.sample(1)
    for hook in hooks:
        hook.remove()
    return float(counter.get_total_flops()), float(len(passes))


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read(f"""
        stacks of four codes leave at most 0.7 of the variance that one code of as large a codebook leaves:
            rq/unexplained/{DEPTH} < 0.7 * vq/unexplained  (not at quick scale)
            Post hoc: 0.8 was inconclusive at 0.795 on seeds 0 to 2, of whole images and 500 steps. [before]
        and less than one code of a codebook of 64 times the memory leaves:
            rq/unexplained/{DEPTH} < large/unexplained  (not at quick scale)
            Post hoc: 0.95 of what 16 times the memory leaves was reproduced. [before]
        every further code of a stack takes at least 2 % off what is left:
            rq/largest_ratio < 0.98  (not at quick scale)
            Post hoc: this was 0.950. [before]
        the RQ-Transformer draws an example with at most half of the operations of a flat transformer as deep:
            rq/operations < 0.5 * flat/operations
            Post hoc: 0.6 was reproduced at 0.449; the count does not depend on training.
        and with at most half as many blocks run one after the other:
            rq/passes < 0.5 * flat/passes
            Post hoc: it follows from the architectures: 112 and 256.
        and its likelihood of test codes is at most 2 % worse, in nats:
            rq/nll < 1.02 * flat/nll  (not at quick scale)
            Post hoc: this was 0.907. [before]
        and the Frechet distance of its samples is at most a tenth above the flat one's:
            rq/frechet < 1.1 * flat/frechet  (not at quick scale)
            Post hoc: this was inconclusive at 0.94. [before]
        and at most half of that of codes with the frequencies of their places:
            rq/frechet < 0.5 * positions/frechet  (not at quick scale)
            Post hoc: this was inconclusive at 0.24. [before]
        [before] Then images were halved and steps doubled, without a look at those, and fresh seeds taken.
        """),
    seeds=(100, 101, 102),
    quick={
        **QUICK,
        "steps": 10,
        "test": 50,
        "rows": 500,
        "prior_steps": 3,
        "codes": 32,
        "large": 64,
        "downsample": 2,
    },
    default={**BUDGET, "rows": 60_000, "steps": 1000, "codes": 64, "large": 4096, "downsample": 4},
    full=FULL,
    notes="""
        Images of 14 x 14 pixels, a grid of 4 x 4 tokens of width 8, convolutional networks of 32 channels, squared
        error, one codebook for all four depths. The stacks have four times the bits of one code of as large a
        codebook and twice those of one of the larger, which has 4096 codes where the stacks have 64: the claim is the
        paper's, that depth spends memory better than codebook size. Without the paper's perceptual and adversarial
        losses, and without soft labels. The priors have 64 channels and four blocks each (three over places and one
        over depth, or four over the flat row of 64 codes), and learn from the same codes. Operations are those of
        matrix products while one example is drawn with cached keys and values; attention itself is not counted, of
        which the flat row needs more. Frechet distances are of 32 features of a small classifier.
        """,
)
