"""Do patches learned from a quarter of the image give features that a linear probe reads better?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from narrows.core import Batch
from narrows.data import Dataset
from narrows.methods.masked._assemble import MaskedAutoencoder
from narrows.methods.masked.mae import mae
from narrows.nets.axes import as_image
from narrows.nets.masked_vit import visible_count
from narrows.nets.vit import Patches
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.probe import probe

__all__ = ["PROOF"]

WIDE, DEEP, NARROW, SHALLOW = 64, 2, 32, 1
"""Channels and blocks of the encoder, and of the decoder."""
NETS = {
    "net": f"vit:width={WIDE},depth={DEEP},heads=2",
    "decoder": f"vit:width={NARROW},depth={SHALLOW},heads=2",
}
SIDE = 4
"""Patches along the longer side of the data."""
RATIO = 0.75
RATE = 3e-3


def features(model: MaskedAutoencoder, data: Dataset, limit: int) -> Tensor:
    """Features of the first examples, (N, F)."""
    with torch.no_grad():
        rows = range(0, min(limit, len(data)), 500)
        return torch.cat([model.features(data.batch(slice(r, min(r + 500, limit)))) for r in rows])


def judge(model: MaskedAutoencoder, trial: Trial) -> dict[str, float]:
    """How well a linear probe reads the features, with many labels and with 1 in 100 of them."""
    train, test = trial.data.train, trial.data.test
    many, few = trial.budget["probe"], max(trial.budget["probe"] // 100, 100)
    near, far = features(model, train, many), features(model, test, trial.budget["test"])
    assert train.labels is not None
    assert test.labels is not None
    answers = test.labels[: len(far)]
    return {
        "probe": probe(near, train.labels[: len(near)], far, answers),
        "few": probe(near[:few], train.labels[:few], far, answers, strength=0.1),
    }


def multiply_adds(patches: int, visible: int, numbers: int) -> int:
    """Multiply-adds of one example's way through encoder and decoder, of `NETS`, counted from the shapes.

    A block of width W takes 12 W^2 a token (queries, keys, values and output 4, two layers of four times the width
    8) and 2 W a pair of tokens (scores and their weighted sum). The backward pass takes twice as many.

    Args:
        patches: tokens that the decoder sees, L.
        visible: tokens that the encoder sees, V.
        numbers: numbers in a patch.
    """

    def blocks(depth: int, width: int, tokens: int) -> int:
        return depth * (12 * width**2 * tokens + 2 * width * tokens**2)

    encoder = visible * numbers * WIDE + blocks(DEEP, WIDE, visible)
    decoder = blocks(SHALLOW, NARROW, patches) + patches * NARROW * (WIDE + numbers)
    return encoder + decoder


def measure(trial: Trial) -> Mapping[str, float]:
    """MAE, the same transformer with nothing hidden, and one that never learned."""
    rows = trial.data.train.take(trial.budget["rows"])
    _, high, across = as_image(trial.data.spec.shape)
    patch = math.ceil(max(high, across) / SIDE)
    cut = Patches(trial.data.spec.shape, patch)
    models: dict[str, MaskedAutoencoder] = {}
    for name, ratio in (("random", RATIO), ("unmasked", 0.0), ("mae", RATIO)):
        model = trial.build(mae, mask_ratio=ratio, patch=patch, **NETS)
        if name != "random":
            trial.fit(model, rows, lr=RATE)
        models[name] = cast(MaskedAutoencoder, model.to("cpu").eval())
    numbers = {f"{n}/{what}": v for n, m in models.items() for what, v in judge(m, trial).items()}
    work = [multiply_adds(cut.count, visible_count(cut.count, ratio), cut.width) for ratio in (RATIO, 0.0)]
    with torch.no_grad():
        test = Batch(trial.data.test.all(500).x)
        hidden = models["mae"].encode(test).weight
        assert hidden is not None
        error = ((models["mae"].reconstruct(test) - test.x).square() * hidden).sum() / hidden.sum()
    return {**numbers, "mae/hidden": float(error), "mae/multiply-adds": work[0] / work[1]}


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        A probe of MAE's features beats random features by 2 points:
            mae/probe > random/probe + 0.02  (not at quick scale)
            Post hoc: [longer]
        and those of the same net with nothing hidden by 1 point:
            mae/probe > unmasked/probe + 0.01  (not at quick scale)
            Post hoc: [longer]
        With 1 label in 100 it beats random features by 2 points:
            mae/few > random/few + 0.02  (not at quick scale)
            Post hoc: [longer]
        and those of the same net with nothing hidden by 2 points:
            mae/few > unmasked/few + 0.02  (not at quick scale)
            Post hoc: [longer] Added when those seeds had shown a gap of 13 points.
        Encoder and decoder take less than half of the multiply-adds:
            mae/multiply-adds < 0.5
            Post hoc: Counted from the shapes, where the encoder's time was measured before, 0.41 on seeds 0 to 2.
        [longer] The learning rate and the steps were raised after seeds 0 to 2 were inconclusive.
        """),
    seeds=(100, 101, 102),
    quick={"rows": 1438, "probe": 200, "test": 359, "steps": 20, "batch_size": 32},
    default={"rows": 60000, "probe": 5000, "test": 5000, "steps": 2000, "batch_size": 64},
    full={"probe": 60000, "test": 10000, "steps": 20000, "batch_size": 128},
    notes="""
        A tiny transformer (width 64, 2 blocks, 4 x 4 patches an image), three quarters hidden; features are the mean
        of all tokens. The paper pretrains for 800 epochs, this takes 2. 800 steps of 128 at a rate of 0.001 (seeds 0
        to 2) were too few. Pilots on seed 0 at rates of 0.0015 and 0.003 and with a cosine from 0.005, of 1500 to
        2500 steps of 32 or 64, read 75 to 79 %, random features 75 %, and with few labels 61 to 65 against 50 %; the
        best was taken. With targets normalised by patch (tried, seed 0) the gain comes later. The paper's gain in
        time is 3 or more, for far larger encoders; a third of the multiply-adds is what these shapes give.
        """,
)
