"""Do stacks of codes keep more than a larger codebook, and does a prior draw them stack by stack with less work?"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from narrows.bottlenecks.discrete.residual import ResidualQuantizer
from narrows.core import Autoencoder, Batch, Prior
from narrows.methods.quantised.rq_vae import rq_vae
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import BUDGET, FULL, QUICK, RATE
from narrows.proofs.quality import decoded, distance, error, features, independent

__all__ = ["PROOF"]

DEPTH = 4
WIDTH = 8


def measure(trial: Trial) -> Mapping[str, float]:
    """Train an RQ-VAE, VQ-VAEs of one code a token, and two priors over the same stacks; compare on test examples."""
    test, codes = trial.data.test.all(trial.budget["test"]), trial.budget["codes"]
    look = features(trial, trial.budget["look"])
    options = {
        "width": WIDTH,
        "downsample": trial.budget["downsample"],
        "net": "conv:width=32",
        "likelihood": "squared",
    }
    stacked = trial.build(rq_vae, codes=codes, depth=DEPTH, prior="none", **options)
    trial.fit(stacked, lr=RATE)
    variance = float(test.x.var(0, correction=0).mean())
    partial = [float((x - test.x).square().mean()) / variance for x in partial_sums(stacked, test)]
    numbers = {f"rq/unexplained/{d}": value for d, value in enumerate(partial, 1)}
    numbers["rq/largest_ratio"] = max(b / a for a, b in pairwise(partial))
    for name, size in {"vq": codes, "large": trial.budget["large"]}.items():
        plain = trial.fit(trial.build(vq_vae, codes=size, prior="none", **options), lr=RATE)
        numbers[f"{name}/unexplained"] = error(plain, test) / variance
    known = stacked.as_symbols(trial.data.train.all(trial.budget["test"])).x
    drawn = independent(known.flatten(1), codes, len(test)).view(len(test), *known.shape[1:])
    numbers["positions/frechet"] = distance(
        look, decoded(stacked, stacked.bottleneck.from_symbols(drawn).z), test
    )
    for name, spelled in {"rq": "rq-transformer:depth=3,head_depth=1", "flat": "ar:depth=4"}.items():
        model = trial.build(rq_vae, codes=codes, depth=DEPTH, prior=f"{spelled},width=64", **options)
        model.load_state_dict(stacked.state_dict(), strict=False)
        trial.fit(model, finished=("autoencoder",), steps=trial.budget["prior_steps"], lr=RATE)
        assert model.prior is not None
        with torch.no_grad():
            numbers[f"{name}/nll"] = float(model.prior.nll(model.as_symbols(test).x).mean())
            numbers[f"{name}/frechet"] = distance(look, model.sample(len(test)), test)
        numbers[f"{name}/operations"] = operations(model.prior)
    return numbers


@torch.no_grad()
def partial_sums(model: Autoencoder, test: Batch) -> list[Tensor]:
    """Reconstructions from the first code of every stack, from the first two, and so on."""
    quantizer = model.bottleneck
    assert isinstance(quantizer, ResidualQuantizer)
    indices, total, found = model.as_symbols(test).x, torch.zeros(()), []
    for level in range(quantizer.depth):
        total = total + quantizer.book(level).vectors(indices[..., level])
        found.append(decoded(model, quantizer.outward(total)))
    return found


def operations(prior: Prior) -> float:
    """Multiplications and additions of matrix products while one example is drawn."""
    with FlopCounterMode(display=False) as counter:
        prior.sample(1)
    return float(counter.get_total_flops())


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read(f"""
        stacks of four codes leave at most 0.8 of the variance that one code of as large a codebook leaves:
            rq/unexplained/{DEPTH} < 0.8 * vq/unexplained
        and at most 0.95 of what one code of a sixteen times larger codebook leaves:
            rq/unexplained/{DEPTH} < 0.95 * large/unexplained  (not at quick scale)
        every further code of a stack takes at least 2 % off what is left:
            rq/largest_ratio < 0.98  (not at quick scale)
        the RQ-Transformer draws an example with at most 0.6 of the operations of a flat transformer as deep:
            rq/operations < 0.6 * flat/operations
        and its likelihood of test codes is at most 2 % worse, in nats:
            rq/nll < 1.02 * flat/nll  (not at quick scale)
        and the Frechet distance of its samples is at most a tenth above the flat one's:
            rq/frechet < 1.1 * flat/frechet  (not at quick scale)
        and at most half of that of codes with the frequencies of their places:
            rq/frechet < 0.5 * positions/frechet  (not at quick scale)
        """),
    quick={**QUICK, "prior_steps": 3, "codes": 32, "large": 512, "downsample": 2},
    default={**BUDGET, "codes": 64, "large": 1024, "downsample": 8},
    full=FULL,
    notes="""
        A grid of 4 x 4 tokens of width 8, convolutional networks of 32 channels, squared error, one codebook for all
        four depths. The stacks have four times the bits of one code of as large a codebook and 2.4 times those of one
        of the larger: the claim is the paper's, that depth spends bits better than codebook size. Without the paper's
        perceptual and adversarial losses, and without soft labels. The priors have 64 channels and four blocks each
        (three over places and one over depth, or four over the flat row of 64 codes), and learn from the same codes.
        Operations are those of matrix products while one example is drawn with cached keys and values; attention
        itself is not counted, of which the flat row needs more. Frechet distances are of 32 features of a small
        classifier.
        """,
)
