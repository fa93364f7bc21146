"""Do tokens that each describe the whole image reconstruct more than tokens of patches, at a low rate?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.core import Autoencoder, Batch
from narrows.data import Dataset
from narrows.data.scaling import Scaling
from narrows.methods.quantised.qg_vae import qg_vae
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import RATE
from narrows.proofs.quality import error

__all__ = ["PROOF"]

TOKENS = 16


def measure(trial: Trial) -> Mapping[str, float]:
    """Train global tokens, with and without an order, and tokens of patches; swap tokens and leave some out."""
    budget, side = trial.budget, trial.budget["side"]
    train, test = (
        _on_canvas(part, n, side) for part, n in zip(_parts(trial), (budget["rows"], budget["test"]))
    )
    spec = replace(trial.data.spec, shape=(1, side, side))
    shared = {"spec": spec, "codes": budget["codes"], "width": 32, "prior": "none", "likelihood": "squared"}
    channels = budget["channels"]
    models = {
        "global": trial.build(qg_vae, tokens=TOKENS, channels=channels, **shared),
        "ordered": trial.build(qg_vae, tokens=TOKENS, channels=channels, ordered=1.0, **shared),
        "local": trial.build(vq_vae, downsample=side // math.isqrt(TOKENS), net="conv:width=32", **shared),
    }
    batch, numbers = test.all(budget["test"]), dict[str, float]()
    for name, model in models.items():
        trial.fit(model, train, lr=RATE)
        numbers[f"{name}/psnr"] = -10 * math.log10(error(model, batch))
        numbers[f"{name}/parameters"] = sum(p.numel() for p in model.parameters())
        if name != "ordered":
            numbers[f"{name}/area"] = area(model, batch, trial.seed)
        if name != "local":
            numbers[f"{name}/half"] = half(model, batch)
    return numbers


def _parts(trial: Trial) -> tuple[Dataset, Dataset]:
    return trial.data.train, trial.data.test


def _on_canvas(part: Dataset, rows: int, side: int) -> Dataset:
    """The first examples, in the middle of an empty canvas."""
    part = replace(
        part, x=part.all(rows).x, scaling=Scaling(), labels=None, factors=None, channels_last=False
    )
    height = part.x.shape[-1]
    before = (side - height) // 2
    after = side - height - before
    return replace(part, x=F.pad(part.x, (before, after, before, after)), shape=(1, side, side))


@torch.no_grad()
def area(model: Autoencoder, test: Batch, seed: int, examples: int = 50) -> float:
    """The pixels that hold 90 % of the squared change when a token is swapped, on average.

    Each token of the examples is replaced by that of another example. Swaps that change nothing do not count.
    """
    indices = model.as_symbols(test).x
    given, other = indices[:examples], indices[examples : 2 * examples]
    found = list[Tensor]()
    before = model.decode(model.bottleneck.from_symbols(given).z)
    for t in range(indices.shape[1]):
        swapped = given.clone()
        swapped[:, t] = other[:, t]
        change = (model.decode(model.bottleneck.from_symbols(swapped).z) - before).square().flatten(1)
        shares = change.sort(-1, descending=True).values.cumsum(-1)
        moved = shares[:, -1] > 1e-6
        found.append(((shares < 0.9 * shares[:, -1:]).sum(-1) + 1)[moved])
    return float(torch.cat(found).float().mean())


@torch.no_grad()
def half(model: Autoencoder, test: Batch) -> float:
    """The mean squared error from the first half of the tokens; the others are zero."""
    z = model.encode(test).z.clone()
    z[:, TOKENS // 2 :] = 0
    return float((model.likelihood.mean(model.decode(z)) - test.x).square().mean())


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        at 16 tokens of 256 codes, reconstructions have a PSNR at least 0.5 dB above that of patches:
            global/psnr > local/psnr + 0.5  (not at quick scale)
        swapping one token changes at least four times as many pixels:
            global/area > 4 * local/area  (not at quick scale)
        and more than one of a patch:
            global/area > local/area
        trained to be ordered, the first half of the tokens leaves at most half of the error that it leaves otherwise:
            ordered/half < 0.5 * global/half  (not at quick scale)
        """),
    quick={"steps": 8, "rows": 500, "test": 100, "side": 16, "codes": 16, "channels": 4},
    default={
        "steps": 250,
        "rows": 10_000,
        "test": 1000,
        "side": 32,
        "codes": 256,
        "channels": 8,
        "batch_size": 32,
    },
    full={"steps": 20_000, "rows": 60_000, "test": 10_000, "side": 64, "channels": 16, "batch_size": 64},
    notes="""
        Digits in the middle of an empty canvas of 32 x 32 pixels (full scale: 64 x 64), 128 bits an image. Patches are
        those of a VQ-VAE with convolutional networks of 32 channels, 4 x 4 tokens of 8 x 8 pixels and one codebook;
        global tokens have a codebook each, and U-Nets of 8 channels. The area of a token are the pixels that hold 90 %
        of the squared change of the reconstruction when it is replaced by the token of another example.
        """,
)
