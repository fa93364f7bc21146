"""Does a gate that spends more codes where there is detail reconstruct more from as many codes?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.bottlenecks.discrete.dynamic import DynamicQuantizer
from narrows.core import Autoencoder, Batch
from narrows.core.evidence import FineCells
from narrows.data import Dataset
from narrows.methods.quantised.dq_vae import dq_vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import RATE
from narrows.proofs.quality import error
from narrows.proofs.reduced import reduced

__all__ = ["PROOF"]

SHARE = 0.25


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a learned and a fixed gate with the same share of fine cells, on digits somewhere on a canvas."""
    budget = trial.budget
    data = reduced(trial.data, rows=budget["rows"], tests=budget["test"], pool=2, binary=False)
    side = budget["side"]
    train, test = (_placed(part, side, seed) for part, seed in ((data.train, 1), (data.test, 2)))
    batch = test.all(budget["test"])
    options: dict[str, Any] = {
        "spec": replace(data.spec, shape=(1, side, side)),
        "codes": budget["codes"],
        "width": 16,
        "share": SHARE,
        "downsample": budget["downsample"],
        "prior": "none",
        "net": "conv:width=32",
        "likelihood": "squared",
    }
    variance, numbers = float(batch.x.var(0, correction=0).mean()), dict[str, float]()
    for gate in ("learned", "fixed"):
        model = trial.fit(trial.build(dq_vae, gate=gate, **options), train, lr=RATE)
        numbers[f"{gate}/unexplained"] = error(model, batch) / variance
        numbers |= {f"{gate}/{name}": value for name, value in spent(model, batch).items()}
    return numbers


def _placed(part: Dataset, side: int, seed: int) -> Dataset:
    """Every example at a random place of an empty canvas."""
    rows, height = len(part), part.shape[-1]
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(side - height + 1, (2, rows), generator=generator)
    canvas = torch.zeros(rows, 1, side, side)
    for i, (x, r, c) in enumerate(zip(part.all(rows).x, *corner.tolist(), strict=True)):
        canvas[i, :, r : r + height, c : c + height] = x
    return replace(part, x=canvas, shape=(1, side, side))


@torch.no_grad()
def spent(model: Autoencoder, test: Batch) -> dict[str, float]:
    """The mean number of codes, the share of fine cells, and its correlation with the gradients in a cell."""
    assert isinstance(model.bottleneck, DynamicQuantizer)
    code = model.encode(test)
    gates = code[FineCells].gates
    steep = F.adaptive_avg_pool2d(_gradients(test.x), model.bottleneck.coarse).flatten(1)
    both = torch.stack([gates.flatten(), steep.flatten()])
    return {
        "codes": float(model.bottleneck.lengths(code).float().mean()),
        "share": float(gates.mean()),
        "off": abs(float(gates.mean()) - SHARE),
        "correlation": float(torch.corrcoef(both)[0, 1]) if gates.unique().numel() > 1 else 0.0,
    }


def _gradients(x: Tensor) -> Tensor:
    """Absolute differences of neighbouring pixels, (B, 1, H, W)."""
    across, down = x.diff(dim=-1, append=x[..., -1:]), x.diff(dim=-2, append=x[..., -1:, :])
    return across.abs() + down.abs()


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        a learned gate leaves at most 0.9 of the variance that a fixed one leaves:
            learned/unexplained < 0.9 * fixed/unexplained  (not at quick scale)
        from at most a twentieth more codes:
            learned/codes < 1.05 * fixed/codes  (not at quick scale)
        the share of fine cells is within 0.05 of its budget:
            learned/off < 0.05  (not at quick scale, refuted here)
        and fine cells lie where gradients are, by a correlation above one half:
            learned/correlation > 0.5  (not at quick scale)
        a fixed gate has the share to a cell:
            fixed/off < 0.03
        """),
    quick={"steps": 5, "rows": 500, "test": 100, "side": 16, "codes": 16, "downsample": 2},
    default={
        "steps": 250,
        "rows": 4000,
        "test": 1000,
        "side": 32,
        "codes": 128,
        "downsample": 4,
        "batch_size": 32,
    },
    full={"steps": 20_000, "rows": 60_000, "test": 10_000, "batch_size": 64},
    notes="""
        Digits of 14 x 14 pixels at a random place of an empty canvas of 32 x 32; 4 x 4 cells with one code or four, and
        a quarter of them fine: 28 codes an image. The rival has the same networks, and a gate that is the same for all
        images: every fourth cell is fine. Both grids of a VQ-VAE, of 16 and 64 codes, differ from this in number.
        Without the paper's perceptual and adversarial losses.
        """,
)
