"""Do scales from coarse to fine draw tokens as well as flow matching in one scale, whatever the tokenizer?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional as F

from narrows.audit.metrics.frechet import classifier
from narrows.methods.variational.vae import vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import QUICK, RATE
from narrows.proofs.quality import decoded, distance
from narrows.proofs.second import drawn_symbols, fit_prior

__all__ = ["PROOF"]

BETA = 0.02
SCALES = "flowar:width=64,depth=2,head_depth=2,labels=yes"
ONE_SCALE = "flow-matching:width=64,depth=4,labels=yes"
TOKENIZERS = (
    ("grid", 4, "", {"flowar": SCALES, "flow": ONE_SCALE}),
    ("coarse", 8, "other-", {"other": SCALES}),
)
"""Pixels a token, by name in the budget; numbers a token; names of what is measured; and priors."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Train two VAEs over grids, and priors over draws of their codes; compare samples of asked classes."""
    budget = trial.budget
    test, labels = trial.data.test.all(budget["test"]), trial.data.test.labels
    train = trial.data.train
    assert labels is not None
    assert train.labels is not None
    rows = min(len(train), 20_000)
    judge = classifier(train.all(rows).x, train.labels[:rows], steps=budget["look"], seed=trial.seed)
    labels = labels[: len(test)].long()
    told = {"labels": F.one_hot(labels, trial.data.spec.classes)}
    numbers: dict[str, float] = {}

    def look(name: str, made: torch.Tensor) -> None:
        numbers[f"{name}/frechet"] = distance(judge[0], made, test)
        agree = judge(made.to(test.x)).argmax(1) == labels.to(test.x.device)
        numbers[f"{name}/agreement"] = float(agree.float().mean())

    for grid, channels, prefix, arms in TOKENIZERS:
        options = {"downsample": budget[grid], "net": "conv:width=16", "likelihood": "squared"}
        model = trial.fit(trial.build(vae, latent=channels, beta=BETA, **options), lr=RATE)
        codes = drawn_symbols(model, test)
        with torch.no_grad():
            look(f"{prefix}codes", decoded(model, codes.flatten(1)))
            look(f"{prefix}normal", decoded(model, torch.randn_like(codes).flatten(1)))
        for name, text in arms.items():
            prior = fit_prior(trial, model, text)
            numbers[f"{name}/weights"] = float(sum(p.numel() for p in prior.parameters()))
            with torch.no_grad():
                drawn = prior.sample(len(test), told, steps=budget["solver"])  # type: ignore[call-arg]
                look(name, decoded(model, drawn.flatten(1)))
    return numbers


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        the Frechet distance of samples is at most that of flow matching in one scale, up to a tenth:
            flowar/frechet < 1.1 * flow/frechet  (not at quick scale)
        which has at least as many weights:
            flowar/weights < flow/weights
        a classifier finds the class that was asked for in at least 0.85 of the samples:
            flowar/agreement > 0.85  (not at quick scale, refuted here)
        the same prior reads the tokens of another tokenizer, at half of the distance of N(0, I) at most:
            other/frechet < 0.5 * other-normal/frechet  (not at quick scale)
        """),
    quick={
        **QUICK,
        "steps": 10,
        "prior_steps": 3,
        "grid": 2,
        "coarse": 4,
        "prior_batch": 16,
        "test": 30,
        "solver": 1,
    },
    default={
        "steps": 300,
        "prior_steps": 400,
        "prior_batch": 32,
        "test": 600,
        "look": 400,
        "batch_size": 64,
        "grid": 4,
        "coarse": 8,
        "solver": 10,
    },
    full={"steps": 20_000, "prior_steps": 20_000, "prior_batch": 64, "test": 10_000},
    notes="""
        VAEs with squared error and a KL divergence of weight 0.02: one with 7 x 7 tokens of four numbers, in grids of
        1, 2, 4 and 7 a side, and one with 4 x 4 tokens of eight numbers, in grids of 1, 2 and 4. Both priors are told
        labels, and have a width of 64: two blocks over all grids and two of the velocity field, or four of a velocity
        field alone, with equal steps. Samples are of the classes of the test examples, by ten steps of Heun's method
        in each grid. `codes` are decoded draws of test examples' own posteriors. Frechet distances are of 32 features
        of a small classifier, which also judges the class.
        """,
)
