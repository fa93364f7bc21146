"""Do an invertible encoder and a causal transformer, trained together, need fewer bits than each of them?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional as F

from narrows.audit.metrics.frechet import classifier
from narrows.core import Autoencoder, Batch
from narrows.methods.variational.jetformer import jetformer
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.quality import distance

__all__ = ["PROOF"]

RATE = 2e-3
LEVELS = 17
GUIDANCE = 2.0
NUMBERS = 4
"""Numbers of a patch."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Train both together, each alone with as many weights, with a noise curriculum, and with labels and guidance."""
    budget = trial.budget
    train, test = trial.data.train, trial.data.test.all(budget["test"])
    assert train.labels is not None
    judge = classifier(train.all(2000).x, train.labels[:2000], steps=budget["look"], seed=trial.seed)
    curriculum = f"cosine:0.3:0:{budget['steps'] * 3 // 4}"
    arms: dict[str, dict[str, Any]] = {
        "joint": {"couplings": 4, "depth": 2},
        "transformer": {"couplings": 0, "depth": 6},
        "flow": {"couplings": 6, "redundant": NUMBERS},
        "curriculum": {"couplings": 4, "depth": 2, "noise": curriculum},
        "labelled": {"couplings": 4, "depth": 2, "labels": True, "noise": curriculum},
    }
    numbers: dict[str, float] = {}
    for name, options in arms.items():
        model = trial.build(jetformer, patch=2, width=budget["width"], levels=LEVELS, **options)
        trial.fit(model, lr=RATE)
        with torch.no_grad():
            if name == "labelled":
                labels = torch.arange(len(test)) % trial.data.spec.classes
                told = {"labels": F.one_hot(labels, trial.data.spec.classes)}
                for arm, guidance in (("labelled", 1.0), ("guided", GUIDANCE)):
                    made = model.sample(len(test), told, guidance=guidance)
                    numbers[f"{arm}/agreement"] = float((judge(made).argmax(1) == labels).double().mean())
                continue
            numbers |= {f"{name}/{key}": value for key, value in _measured(model, test).items()}
            numbers[f"{name}/frechet"] = distance(judge[0], model.sample(len(test)), test)
    return numbers


def _measured(model: Autoencoder, test: Batch) -> dict[str, float]:
    """Bits a dimension of the test examples, the largest error of the inverse, and the number of weights."""
    passed = model(test)
    bits = passed.code.costs["kl"].mean() / (math.log(2) * test.x[0].numel())
    apart = (passed.output - passed.features["y"]).abs().max()
    weights = sum(p.numel() for p in model.parameters())
    return {"bits": float(bits), "error": float(apart), "weights": float(weights)}


PROOF = Proof(
    data="digits",
    claims=Claim.read("""
        bits a dimension of test examples are at least 0.02 below those of the transformer over patches alone:
            joint/bits < transformer/bits - 0.02  (not at quick scale)
        and at least 0.02 below those of the couplings with the prior N(0, I):
            joint/bits < flow/bits - 0.02  (not at quick scale)
        which have at least as many weights, up to a twentieth:
            joint/weights < 1.05 * transformer/weights  (not at quick scale)
        and the couplings too:
            joint/weights < 1.05 * flow/weights  (not at quick scale)
        decoding is exact:
            joint/error < 0.0001
        noise on the images that decays brings samples nearer to the data:
            curriculum/frechet < joint/frechet  (not at quick scale)
        a classifier finds the class that was asked for in at least half of the samples:
            labelled/agreement > 0.5  (not at quick scale)
        and in more of them with a guidance of 2:
            guided/agreement > labelled/agreement  (not at quick scale)
        """),
    quick={"steps": 2, "test": 10, "look": 5, "width": 16},
    default={"steps": 400, "batch_size": 32, "test": 350, "look": 400, "width": 48},
    full={"steps": 20_000, "batch_size": 64, "width": 128},
    notes="""
        Patches of 2 x 2 pixels of 8 x 8 images with 17 levels, and uniform noise of a level's width. All arms have
        equal steps and learning rates: four couplings with one transformer block each and a causal transformer of two
        blocks; a causal transformer of six over patches; and six couplings. Bits are those of a level of a pixel, with
        one fixed draw of the uniform noise. The noise curriculum falls from 0.3 to 0 by half a cosine over three
        quarters of the steps; the labelled model has it too, and is told no label for a tenth of the rows. Guidance is
        by rejection. Images of 256 pixels a side and text are not shown. Frechet distances are of 32 features of a
        small classifier, which also judges the class.
        """,
)
