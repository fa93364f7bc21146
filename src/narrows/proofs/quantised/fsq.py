"""Does FSQ use nearly its whole codebook, where a plain VQ leaves codes dead, at no cost in reconstruction?"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from narrows.bottlenecks.discrete.fsq import levels_for
from narrows.core import Autoencoder
from narrows.methods.quantised.fsq import fsq
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import AVERAGED, RATE, mistakes, stride, used
from narrows.proofs.quality import error

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train FSQ and VQ of two sizes with the same networks; count the codes that the test examples use."""
    test = trial.data.test.all(trial.budget["test"])
    options = {
        "prior": "none",
        "downsample": stride(trial.data.spec),
        "net": "conv:width=16",
        "likelihood": "squared",
    }
    numbers: dict[str, float] = {}
    for size in ("small", "large"):
        finite = trial.build(fsq, codes=trial.budget[size], **options)
        codes = math.prod(levels_for(trial.budget[size]))
        models = {
            f"fsq-{size}": finite,
            f"vq-{size}": trial.build(vq_vae, codes=codes, codebook=AVERAGED, **options),
        }
        if size == "small" and trial.budget["restarted"]:  # today's remedies; no claim is about them
            models["vq-restarted"] = trial.build(vq_vae, codes=codes, **options)
        for name, model in models.items():
            trial.fit(model, lr=RATE)
            numbers[f"{name}/used"] = used(model, test)
            numbers[f"{name}/mse"] = error(model, test)
        numbers[f"fsq-{size}/mistakes"] = mistakes(finite, test) + equal_codes(finite, codes)
    return numbers


@torch.no_grad()
def equal_codes(model: Autoencoder, codes: int) -> float:
    """How many of all codes are equal to another."""
    grid = model.bottleneck.from_symbols(torch.arange(codes).view(-1, 1)).z
    return float(codes - len(grid.unique(dim=0)))


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        FSQ uses at least 90 % of the smaller codebook:
            fsq-small/used > 0.9  (not at quick scale)
            Post hoc: [longer]
        a plain VQ of that size uses a smaller share:
            vq-small/used < fsq-small/used
            Post hoc: [longer]
        so does one of the larger size:
            vq-large/used < fsq-large/used  (not at quick scale)
            Post hoc: [longer]
        at the larger size, FSQ's error is at most 1.05 of the plain VQ's:
            fsq-large/mse < 1.05 * vq-large/mse  (not at quick scale)
            Post hoc: [longer]
        every index comes back from its code:
            fsq-large/mistakes < 0.5
        [longer] Seeds 0 to 2 had 300 steps, too few; more steps, with smaller batches and networks, after
            pilots on seed 0.
        """),
    seeds=(100, 101, 102),
    quick={"steps": 25, "test": 359, "small": 25, "large": 240},
    default={"steps": 1000, "test": 5000, "small": 1000, "large": 4096, "batch_size": 32, "restarted": 0},
    full={"steps": 40_000, "test": 10_000, "batch_size": 64, "restarted": 1},
    notes="""
        Convolutional networks of 16 channels, squared error; about 1000 and 4000 codes, levels (8, 5, 5, 5) and (8,
        8, 8, 8) (quick: (5, 5) and (8, 6, 5)). The plain VQ has an EMA codebook that starts from normal draws and
        never restarts a code, as in the paper's comparison. `vq-restarted` (full scale) starts from k-means and
        restarts dead codes, as `vq-vae` does here unless told otherwise: with 32 channels and 300 steps it used 96 %
        of 1000 codes, and its error was four fifths of FSQ's, which used 84 %. With 1000 steps of 32 and 16 channels
        FSQ used 96 % (seed 0). The paper's sizes are ImageNet's.
        """,
)
