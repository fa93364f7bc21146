"""scVI: new cells have a higher likelihood given their totals, types are found, and batches are not in the code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from narrows.audit.evidence.likelihood import importance_nll
from narrows.audit.metrics.neighbours import neighbour_accuracy
from narrows.core import Autoencoder
from narrows.data import Source
from narrows.data import open as open_data
from narrows.methods.tabular.scvi import scvi
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.tabular._counts import logs, principal

__all__ = ["PROOF"]

LATENT = 10


def measure(trial: Trial) -> Mapping[str, float]:
    """Held-out likelihood and types of real cells, and batches of synthetic ones."""
    steps = trial.budget["steps"]
    how: dict[str, Any] = {"lr": f"cosine:5e-3:0:{steps}"}
    warm = {"latent": LATENT, "beta": f"linear:0:1:{steps // 2}"}
    numbers: dict[str, float] = {}
    model = trial.fit(trial.build(scvi, **warm), **how)
    empty = trial.build(
        scvi, latent=1, beta=1e4
    )  # its code says nothing, so that shares are the same for all cells
    models = {"scvi": model, "shares": trial.fit(empty, **how)}
    if trial.budget["cells"]:
        models["linear"] = trial.fit(
            trial.build(scvi, net="linear", **warm), steps=2 * steps, lr=f"cosine:1e-2:0:{2 * steps}"
        )
    test = trial.data.test.all()
    for name, each in models.items():
        numbers[f"{name}/nll"] = float(importance_nll(each, test, trial.budget["samples"]).mean())
    numbers |= {f"scvi/{name}": value for name, value in _neighbours(model, trial.data).items()}
    train = trial.data.train.all().x
    numbers["pca/types"] = _accuracy(trial.data, *principal(logs(train), logs(test.x), LATENT))
    return numbers | (_batches(trial, how, warm) if trial.budget["cells"] else {})


def _batches(trial: Trial, how: Mapping[str, Any], warm: Mapping[str, Any]) -> dict[str, float]:
    """Whether neighbours in the code are of one batch, with and without the batch as a condition; and their types."""
    source = open_data("cells", n=trial.budget["cells"], batches=3)
    numbers: dict[str, float] = {}
    for name, spec in {"told": source.spec, "untold": replace(source.spec, conditions={})}.items():
        model = trial.fit(trial.build(scvi, spec=spec, **warm), source.train, **how)
        numbers |= {f"{name}/{what}": value for what, value in _neighbours(model, source).items()}
    return numbers


def _neighbours(model: Autoencoder, source: Source) -> dict[str, float]:
    """The accuracy of types, and where there are batches, of those, by neighbours in the code."""
    parts = [part.all(conditions=model.conditions) for part in (source.train, source.test)]
    with torch.no_grad():
        train, test = (model.features(part) for part in parts)
    numbers = {"types": _accuracy(source, train, test)}
    if "batch" in source.spec.conditions:
        labels = [
            part.condition(slice(None), ("batch",))["batch"].argmax(1) for part in (source.train, source.test)
        ]
        right = neighbour_accuracy(train, labels[0], test, labels[1])
        numbers["batches"] = float(right.double().mean())
    return numbers


def _accuracy(source: Source, train: Tensor, test: Tensor) -> float:
    known, answers = source.train.labels, source.test.labels
    assert known is not None
    assert answers is not None
    return float(neighbour_accuracy(train, known, test, answers).double().mean())


PROOF = Proof(
    data="pbmc68k",
    quick_data="cells",
    claims=Claim.read("""
        Held-out cells given their totals are more likely than with equal shares for all cells:
            scvi/nll < shares/nll
        ... by 20 nats:
            scvi/nll < shares/nll - 20  (not at quick scale)
            Post hoc: [start]
        ... and not less than by a linear encoder and decoder:
            scvi/nll < linear/nll  (not at quick scale, refuted here)
            Post hoc: [start]
        Types of held-out cells, by 15 neighbours in the code: at most 0.03 below principal components of log counts:
            scvi/types > pca/types - 0.03  (not at quick scale)
        With the batch as a condition of the decoder, neighbours in the code tell it little better than chance, a third:
            told/batches < 0.45  (not at quick scale, refuted here)
            Post hoc: [start]
        ... and otherwise in most cases:
            untold/batches > 0.7  (not at quick scale)
        Types are told as often with the condition as without:
            told/types > untold/types - 0.02  (not at quick scale)
        [start] Two claims were asked at quick scale too, where seeds 0 to 2 had shown 12 nats and 0.93. On seeds 100 to
            102, with twice the steps, scvi was 21 nats below equal shares and 53 above the linear one, since it learned
            the training cells by heart, and batches were told in 0.81 of cases; then weights got a smaller start. On
            seeds 200 to 202 it was 69 nats below equal shares and 12 above the linear one, and batches were told in
            0.97 of cases; then hidden layers were batch-normalised, as in the published code, which a part of the
            training cells had shown to be better.
        """),
    seeds=(300, 301, 302),
    quick={"steps": 100, "samples": 10, "cells": 0, "batch_size": 64},
    default={"steps": 200, "samples": 50, "cells": 2000},
    full={"steps": 20_000, "samples": 1000, "cells": 20_000},
    notes="""
        pbmc68k: 579 cells for training and 145 held out, 2956 genes, 10 types, of which some are hard to tell apart
        (subsets of T cells). The paper has tens of thousands of cells, and compares with factor analysis of log counts,
        whose nats are not those of counts: here the rivals have the same likelihood, equal shares of all cells or a
        linear encoder and decoder, which get twice the steps. Batches are those of the synthetic cells, where each
        changes the log-shares of all genes.
        """,
)
