"""MIWAE: hidden cells of a table come back better than by column means and by chained regressions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from narrows.audit.evidence.imputation import impute
from narrows.audit.metrics.imputation import ColumnMeans, imputation_errors
from narrows.core import Batch
from narrows.core.check import optional
from narrows.core.columns import Columns
from narrows.data import Source
from narrows.data import open as open_data
from narrows.data.holes import hidden_truth, hide
from narrows.methods.tabular.missing_iwae import missing_iwae
from narrows.proofs.engine import Claim, Proof, Trial

__all__ = ["PROOF"]

SHARE = 0.2
"""So much of the cells is hidden, of the training and of the test part."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Hide a fifth of the cells, fit, and fill the test rows; again on data whose conditional means are known."""
    numbers = _errors(trial, trial.data, trial.budget["steps"], trial.budget["chained_rows"])
    known = numbers
    if trial.data.truth is None:
        known = _errors(trial, open_data("linear", n=5000, tests=1000), trial.budget["linear_steps"])
    return {**numbers, **{f"linear/{name}": value for name, value in known.items()}}


def _errors(trial: Trial, source: Source, steps: int, chained_rows: int = 0) -> dict[str, float]:
    """The errors of all ways to fill the hidden cells of the test part, by arm."""
    parts = [hide(part, SHARE, seed=2 * trial.seed + i) for i, part in enumerate((source.train, source.test))]
    train, test = (part.all() for part in parts)
    how: dict[str, Any] = {"steps": steps, "lr": f"cosine:2e-3:0:{steps}"}
    # As in the paper, the encoder sees all observed cells.
    plain: dict[str, Any] = {"spec": source.spec, "withhold": 0.0}
    model = trial.fit(trial.build(missing_iwae, **plain), parts[0], **how)
    columns = Columns.of(source.spec)
    means = ColumnMeans.of(train.x, train.condition["observed"], columns)
    trial.log("filling the test rows")
    arms = {
        "missing-iwae": impute(model, test, trial.budget["samples"], seed=trial.seed).cells,
        "one draw": impute(model, test, 1, seed=trial.seed).cells,
        "mean": means.cells.expand_as(test.x),
    }
    if source.truth is not None:
        observed = test.condition["observed"]
        exact = source.truth.conditional(test.x.numpy(), observed.numpy())[0]
        arms["exact"] = torch.from_numpy(exact).float()
    if chained_rows:
        dense = trial.fit(trial.build(missing_iwae, **plain, numbers="gaussian"), parts[0], **how)
        arms["gaussian"] = impute(dense, test, trial.budget["samples"], seed=trial.seed).cells
        for name, options in (("chained", {}), ("chained-30", {"n_nearest_features": 30})):
            arms[name] = _chained(train[:chained_rows], test, columns, trial.seed, **options)
    truth = hidden_truth(parts[1])
    assert truth is not None
    numbers = {}
    for arm, cells in arms.items():
        errors = imputation_errors(cells, truth, ~test.condition["observed"], columns, means.deviation)
        numbers[f"{arm}/rmse"] = errors.mean_rmse
        if len(errors.accuracy):
            numbers[f"{arm}/accuracy"] = errors.mean_accuracy
    return numbers


def _chained(train: Batch, test: Batch, columns: Columns, seed: int, **options: Any) -> Tensor:
    """Scikit-learn's IterativeImputer on numbers and indicators, a category being its largest indicator."""
    optional("sklearn.experimental.enable_iterative_imputer", "sklearn", "compare with IterativeImputer")
    rows = _with_gaps(train, columns)
    low = np.nanmin(rows, 0)
    imputer = optional("sklearn.impute", "sklearn", "compare with IterativeImputer").IterativeImputer(
        random_state=seed, min_value=low, max_value=np.maximum(np.nanmax(rows, 0), low + 1e-6), **options
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ten rounds are its default, converged or not
        imputer.fit(rows)
    filled = torch.from_numpy(imputer.transform(_with_gaps(test, columns))).float()
    real, binary, *categories = filled.split(columns.sizes, 1)
    cells = torch.cat([real, binary, *(group.argmax(1, keepdim=True).float() for group in categories)], 1)
    return cells[:, np.argsort(columns.order)]


def _with_gaps(batch: Batch, columns: Columns) -> np.ndarray:
    """Numbers and indicators side by side, NaN where a cell is missing."""
    observed = batch.condition["observed"]
    wide = columns.expand(batch.x, observed)
    found: np.ndarray = torch.where(observed[:, columns.owner], wide, torch.nan).numpy()
    return found


PROOF = Proof(
    data="adult",
    data_options={"kind": "table"},
    quick_data="linear",
    claims=Claim.read("""
        The error of numbers is a twentieth below that of column means:
            missing-iwae/rmse < 0.95 * mean/rmse
        Categories are right in a tenth of the cells more than the most frequent one is:
            missing-iwae/accuracy > mean/accuracy + 0.1  (not at quick scale)
        The error of numbers is below that of chained regressions (IterativeImputer):
            missing-iwae/rmse < chained/rmse  (not at quick scale)
            Post hoc: [rival]
        Categories are right more often by 0.05 than by chained regressions:
            missing-iwae/accuracy > chained/accuracy + 0.05  (not at quick scale)
            Post hoc: [rival]
        ... and by 0.02 than by those on the 30 nearest columns, which indicators of one category harm less:
            missing-iwae/accuracy > chained-30/accuracy + 0.02  (not at quick scale)
            Post hoc: [rival]
        Where the exact conditional mean is known, the error is at most a twentieth above its own:
            linear/missing-iwae/rmse < 1.05 * linear/exact/rmse  (not at quick scale)
            Post hoc: At quick scale, seeds 0 to 2, it was missed by 0.6 % while variances learned a tenth as fast and
            the learning rate was constant.
        Importance weights matter: the error is a twentieth below that of a single code:
            missing-iwae/rmse < 0.95 * one draw/rmse
        Categories are right more often by 0.005 than with Gaussian densities of numbers:
            missing-iwae/accuracy > gaussian/accuracy + 0.005  (not at quick scale)
        ... and the error of numbers is not larger by more than 0.01:
            missing-iwae/rmse < gaussian/rmse + 0.01  (not at quick scale)
        [rival] On seeds 100 to 102 the regressions had 3000 rows and no bounds, and diverged (RMSE up to
            144): now they have 6000 and stay within the training rows' least and greatest values.
        """),
    seeds=(106, 107, 108),
    quick={"steps": 80, "samples": 50, "chained_rows": 0, "batch_size": 64},
    default={"steps": 2000, "linear_steps": 1000, "samples": 500, "chained_rows": 6000},
    full={"steps": 20_000, "linear_steps": 5000, "samples": 10_000, "chained_rows": 30_000},
    notes="""
        A fifth of all cells is hidden at random, in training and test rows, anew for each seed; errors are of the
        hidden cells of the test rows. Numbers: RMSE over the column's standard deviation; categories: share of right
        cells; both averaged over columns. The paper has numbers only, in small UCI sets and MNIST. IterativeImputer
        has its default settings, but for bounds, and reads an indicator for each category; there each indicator is
        one minus the others of its category, which are missing with it, so that it mostly gives back the most
        frequent one: the second arm regresses on the 30 nearest columns only. Claims and margins were fixed after a
        prototype was seen on seed 0. All were asked again on fresh seeds when numbers became probabilities on their
        grid; the last two were fixed after both likelihoods were seen on seeds 200 and 201.
        """,
)
