"""not-MIWAE: values that are missing because they are large are imputed with less error and less bias."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from narrows.audit.evidence.imputation import impute
from narrows.core import Autoencoder
from narrows.data import Dataset
from narrows.data.holes import HIDDEN
from narrows.methods.tabular.missing_iwae import missing_iwae
from narrows.methods.tabular.not_miwae import not_miwae
from narrows.proofs.engine import Claim, Proof, Trial

__all__ = ["PROOF"]

STEEP = 4.0
"""How fast the probability that a cell is missing rises, per standard deviation."""

WORLDS = {"own": ("known", "linear"), "other": ("linear", "flexible")}
"""The arms of each world, besides `missing-iwae`."""

ARMS: Mapping[str, Mapping[str, str]] = {
    "known": {"mechanism": "self-known"},
    "linear": {"mechanism": "linear"},
    "flexible": {"mechanism": "linear", "net": "auto"},
}


def measure(trial: Trial) -> Mapping[str, float]:
    """Hide half of the columns' cells by their own values, or by other columns; fit, and impute the test rows."""
    numbers: dict[str, float] = {}
    for world, names in (WORLDS if trial.budget.get("worlds", 2) == 2 else {"own": ("known",)}).items():
        both = enumerate((trial.data.train, trial.data.test))
        train, test = (_hidden(part, world, 2 * trial.seed + i) for i, part in both)
        models = {name: _fitted(trial, not_miwae, train, **ARMS[name]) for name in names}
        if len(names) > 1:
            models["missing-iwae"] = _fitted(trial, missing_iwae, train, withhold=0.0)
        truth, x = test.columns[HIDDEN], test.x
        assert isinstance(truth, Tensor)
        assert isinstance(x, Tensor)
        seen = ~x.isnan()
        means = torch.where(seen, truth, 0).sum(0) / seen.sum(0)
        cells = {"mean": means.expand_as(truth)}
        for name, model in models.items():
            cells[name] = impute(model, test.all(), trial.budget["samples"], seed=trial.seed).cells
        for name, found in cells.items():
            numbers |= {f"{world}/{name}/{k}": v for k, v in _compared(found, truth, ~seen).items()}
    return numbers


def _fitted(trial: Trial, builder: Callable[..., Autoencoder], train: Dataset, **options: Any) -> Autoencoder:
    steps, spec = trial.budget["steps"], replace(trial.data.spec, kind="table")
    model = trial.build(builder, spec=spec, **{"numbers": "gaussian", "net": "linear", **options}, latent=2)
    return trial.fit(model, train, lr=f"cosine:{max(3 / steps, 0.005)}:0:{steps}")


def _hidden(data: Dataset, world: str, seed: int) -> Dataset:
    """Cells of the first half of the columns are missing: by their own value, or by that of a column that is not."""
    x = data.x
    assert isinstance(x, Tensor)
    half = x.shape[1] // 2
    score = (x - x.mean(0)) / x.std(0)
    by = score[:, :half] if world == "own" else score[:, half : 2 * half]
    draws = torch.rand(by.shape, generator=torch.Generator().manual_seed(seed))
    gone = torch.zeros_like(x, dtype=torch.bool)
    gone[:, :half] = draws < (STEEP * by).sigmoid()
    return replace(data, x=torch.where(gone, torch.nan, x), columns={**data.columns, HIDDEN: x}, holes=True)


def _compared(cells: Tensor, truth: Tensor, hidden: Tensor) -> dict[str, float]:
    """The RMSE of hidden cells, and the error of the columns' means after imputation, in standard deviations."""
    columns = hidden.any(0)
    away = (torch.where(hidden, cells - truth, 0) / truth.std(0))[:, columns]
    count = hidden[:, columns].sum(0)
    return {
        "rmse": float((away.square().sum(0) / count).sqrt().mean()),
        "bias": float(away.mean(0).abs().mean()),
    }


PROOF = Proof(
    data="linear",
    data_options={"n": 4000, "d": 8, "latent": 2, "tests": 1000},
    claims=Claim.read("""
        Where large values are missing more often, and that is known, the error of imputed values is a fifth below that
        of a model that ignores why they are missing:
            own/known/rmse < 0.8 * own/missing-iwae/rmse  (not at quick scale)
        ... and the error of the columns' means after imputation is less than six tenths:
            own/known/bias < 0.6 * own/missing-iwae/bias  (not at quick scale)
        Column means are worse:
            own/known/rmse < 0.6 * own/mean/rmse
        If all that is known is that it depends on the row, the error is below, too:
            own/linear/rmse < own/missing-iwae/rmse  (not at quick scale)
            Post hoc: [steps]
        Where other columns decide, the error is not larger by more than a twentieth:
            other/linear/rmse < 1.05 * other/missing-iwae/rmse  (not at quick scale)
            Post hoc: [steps]
        [steps] With 600 steps, on seeds 100 to 102, it did not hold. On seed 901 a linear mechanism then had 0.3 nats
            less likelihood than the solution of the known one, which it can represent, and none less after 2400 steps;
            errors were also seen on seed 902. All claims are asked again on fresh seeds, with 2400 steps of all arms.
        """),
    seeds=(103, 104, 105),
    quick={"steps": 120, "samples": 50, "batch_size": 64, "worlds": 1},
    default={"steps": 2400, "samples": 500},
    full={"steps": 10_000, "samples": 10_000},
    notes="""
        Linear data of two hidden numbers and 8 columns. In the first world a cell of four of the columns is missing
        with probability sigmoid(4 t), t its own value in standard deviations from the mean; in the second t is of
        another column, which is always observed. The paper hides values above the mean, in UCI tables. All models
        have Gaussian densities, linear nets (one of the paper's models) and equal budgets; the rival is MIWAE with
        the same nets. The arm `flexible` has the default nets; there is no claim about it: in the second world a
        decoder that is not linear may put the missing values anywhere. Claims were fixed after a prototype was seen
        on seed 900. All encoders see all observed cells.
        """,
)
