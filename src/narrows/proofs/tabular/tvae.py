"""TVAE: columns of new rows are distributed more like those of the data if numbers are modes and places within them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from narrows.core import Autoencoder
from narrows.core.columns import Columns
from narrows.methods.tabular.missing_iwae import missing_iwae
from narrows.methods.tabular.tvae import tvae
from narrows.proofs.engine import Claim, Proof, Trial

__all__ = ["PROOF"]

RIVAL = {"numbers": "gaussian", "samples": 1, "withhold": 0.0, "latent": 128, "net": "mlp:128,128"}


def measure(trial: Trial) -> Mapping[str, float]:
    """Fit both, draw as many rows as the test part has, and compare the columns."""
    spec, steps = replace(trial.data.spec, kind="table"), trial.budget["steps"]
    columns, test = Columns.of(spec), trial.data.test.all(trial.budget["rows"]).x
    models = {"tvae": trial.build(tvae, spec=spec), "gaussian": trial.build(missing_iwae, spec=spec, **RIVAL)}
    numbers = {}
    for name in [*models][: trial.budget.get("arms", 2)]:
        model = trial.fit(models[name], lr=f"cosine:{min(1.6 / steps, 0.01)}:0:{steps}")
        for key, value in _distances(_drawn(model, len(test), trial.seed), test, columns).items():
            numbers[f"{name}/{key}"] = value
    train = trial.data.train.all().x
    rows = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(trial.seed))[: len(test)]]
    return numbers | {f"train/{key}": value for key, value in _distances(rows, test, columns).items()}


@torch.no_grad()
def _drawn(model: Autoencoder, count: int, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return model.sample(count, draw=True)


def _distances(rows: Tensor, test: Tensor, columns: Columns) -> dict[str, float]:
    """Of numbers the Wasserstein distance over the deviation, of levels the total variation; means over columns."""
    ends = (rows.sort(0).values - test.sort(0).values).abs().mean(0) / test.std(0)
    found = {"numbers": float(ends[list(columns.real)].mean())}
    apart = []
    for column, levels in (*((p, 2) for p in columns.binary), *columns.categories):
        shares = [torch.bincount(x[:, column].long(), minlength=levels) / len(x) for x in (rows, test)]
        apart.append(float((shares[0] - shares[1]).abs().sum() / 2))
    return found | ({"levels": sum(apart) / len(apart)} if apart else {})


PROOF = Proof(
    data="adult",
    data_options={"kind": "table"},
    quick_data="linear",
    claims=Claim.read("""
        Columns of numbers of new rows are half as far from those of test rows as with Gaussian numbers:
            tvae/numbers < 0.5 * gaussian/numbers  (not at quick scale)
            Post hoc: [start]
        ... and at most a fifth of a deviation:
            tvae/numbers < 0.2
            Post hoc: [start]
        The levels are not further away by more than 0.05 (total variation):
            tvae/levels < gaussian/levels + 0.05  (not at quick scale)
            Post hoc: [start]
        [start] On seeds 100 to 102 modes started at quantiles of all cells, so that most modes of a column with one
            frequent value were equal and stayed so: distances of 0.14 (0.35 of the rival), 0.08 to 0.18 by seed. They
            start at quantiles of the distinct values now. Claims and budget are the same.
        """),
    seeds=(200, 201, 202),
    quick={"steps": 120, "rows": 500, "batch_size": 64, "arms": 1},
    default={"steps": 800, "rows": 5000},
    full={"steps": 20_000, "rows": 15_000},
    notes="""
        New rows are compared with test rows, column by column; `train` is the distance of as many training rows. The
        rival is a VAE with the same nets, Gaussian densities of numbers and the same probabilities of levels. The
        paper measures classifiers that are trained on new rows, and compares with GANs. Claims were fixed before any
        run.
        """,
)
