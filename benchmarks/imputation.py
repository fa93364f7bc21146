"""Imputation of hidden cells in three worlds of missing values: ours beside scikit-learn's, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks imputation [--sets german-credit,adult] [--worlds random,other,self]
                                  [--arms "missing-iwae,missing-iwae:withhold=0;samples=5,hi-vae"]
                                  [--seeds 0,1,2] [--share 0.2] [--json FILE]
    OMP_NUM_THREADS=1 python -m benchmarks imputation --sets mnist --worlds random --arms vae,mean,KNNImputer

A fifth of the cells is hidden in training and test rows: completely at random; by another column, which is complete;
or by their own value, larger ones more often (`narrows.data.holes.hide`). Each method is fitted to the training rows
with holes, and fills those of the test rows. Of sets with more than 4000 rows, 2000 are for training and 500 for the
test (of images 200), of others a tenth is. Errors are of hidden cells of the test rows: of numbers the root mean
square error over the column's standard deviation, of levels the share that is right, both averaged over columns; of
images the root mean square error of hidden pixels, from 0 to 1.

`covered` is the share of true numbers inside intervals of 90 %, averaged over columns with at least 20 different
values. An interval holds its ends, and so more than was asked where values repeat; `without ties` is the share of
true numbers whose rank among draws is in the central 90 %, ranks among equal draws being drawn.

Ours, of which any method that reads the data can be an arm, have their defaults, or the options after a colon, and
1000 codes for each row, as `narrows impute` has, but for 1000 steps with a learning rate that falls by a cosine from
0.003. scikit-learn's read levels as indicators, of which the largest is the imputed level: IterativeImputer on the 30
nearest columns between the least and largest training value, KNNImputer with 5 neighbours.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from ast import literal_eval
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import narrows.data as nd
from narrows.audit.evidence.imputation import Imputation, impute
from narrows.audit.metrics.imputation import ColumnMeans, imputation_errors
from narrows.core import Batch, Spec
from narrows.core.columns import Columns
from narrows.data import Source
from narrows.data.holes import WORLDS, hidden_truth, hide
from narrows.methods.index import builder
from narrows.train import optimise

SETS = ("german-credit", "adbench-breastw", "adbench-pageblocks", "adult")
OURS = ("missing-iwae",)
IMAGES = ("mnist",)
LARGE, TRAIN, TEST, FEWER = 4000, 2000, 500, 200
FEW = 20
"""Columns of fewer different values have no intervals of 90 %."""
STEPS, SAMPLES, INTERVAL, DRAWS = 1000, 1000, 0.9, 200

Imputer = Callable[[Source, Batch, Batch, int], "tuple[Tensor, Imputation | None]"]
"""From data with holes, their training and test rows and a seed to imputed test rows, with intervals and draws."""


def ours(arm: str) -> Imputer:
    """A method of this package, with the options that follow it."""
    method, _, given = arm.partition(":")
    pairs = (pair.split("=", 1) for pair in given.split(";") if pair)
    options: dict[str, Any] = {name: literal_eval(value) for name, value in pairs}

    def imputer(source: Source, train: Batch, test: Batch, seed: int) -> tuple[Tensor, Imputation]:
        torch.manual_seed(seed)
        model = builder(method)(source.spec, **options)
        optimise(model, source.train, seed=seed, steps=STEPS, lr=f"cosine:3e-3:0:{STEPS}")
        if source.spec.kind != "table":
            return (found := impute(model, test, DRAWS, seed=seed)).cells, found
        found = impute(model, test, SAMPLES, DRAWS, seed=seed, interval=INTERVAL)
        return found.cells, found

    return imputer


def means(source: Source, train: Batch, test: Batch, seed: int) -> tuple[Tensor, None]:
    """The column's mean, or most frequent level; of images the mean of each pixel."""
    if source.spec.kind != "table":
        seen = train.condition["observed"]
        return (torch.where(seen, train.x, 0).sum(0) / seen.sum(0).clamp_min(1)).expand_as(test.x), None
    found = ColumnMeans.of(train.x, train.condition["observed"], Columns.of(source.spec))
    return found.cells.expand_as(test.x), None


def of_sklearn(make: Callable[[np.ndarray, int], Any]) -> Imputer:
    """An imputer of scikit-learn, from the training rows and a seed."""

    def imputer(source: Source, train: Batch, test: Batch, seed: int) -> tuple[Tensor, None]:
        table = source.spec.kind == "table"
        columns = Columns.of(source.spec if table else Spec((train.x[0].numel(),)))
        rows = [indicators(batch, columns) for batch in (train, test)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ten rounds are the default, converged or not
            filled = make(rows[0], seed).fit(rows[0]).transform(rows[1])
        if not table:
            return torch.from_numpy(filled).float().view_as(test.x), None
        parts = torch.from_numpy(filled).float().split(columns.sizes, 1)
        levels = [part.argmax(1, keepdim=True).float() for part in parts[2:]]
        cells = torch.cat([*parts[:2], *levels], 1)
        return cells[:, torch.tensor(columns.order).argsort()], None

    return imputer


def indicators(batch: Batch, columns: Columns) -> np.ndarray:
    """Numbers and indicators of levels, NaN where a cell is missing."""
    x, observed = batch.x.flatten(1), batch.condition["observed"].flatten(1)
    wide = torch.where(observed[:, columns.owner], columns.expand(x, observed), torch.nan)
    return wide.double().numpy()


def nearest(rows: np.ndarray, seed: int) -> Any:
    """KNNImputer at its defaults."""
    from sklearn.impute import KNNImputer

    return KNNImputer(keep_empty_features=True)


def chained(rows: np.ndarray, seed: int) -> Any:
    """IterativeImputer on the 30 nearest columns, within the range of the training rows."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    low, high = np.nanmin(rows, 0), np.nanmax(rows, 0)
    return IterativeImputer(
        random_state=seed, n_nearest_features=30, min_value=low, max_value=np.maximum(high, low + 1e-6)
    )


RIVALS: dict[str, Imputer] = {
    "mean": means,
    "IterativeImputer": of_sklearn(chained),
    "KNNImputer": of_sklearn(nearest),
}


def opened(name: str, world: str, share: float, seed: int) -> Source:
    """A set with holes in training and test rows."""
    source = nd.open(name, kinds=("array",) if name in IMAGES else ("table",))
    spec = source.spec
    if name in IMAGES:
        spec = replace(spec, conditions={"observed": spec.shape})
    train, test = source.train, source.test
    if len(train) + len(test) > LARGE:
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
        train, test = train.rows(order[:TRAIN]), test.rows(slice(0, TEST))
    if name in IMAGES:
        test = test.rows(slice(0, FEWER))
    parts = [hide(part, share, 2 * seed + i, world) for i, part in enumerate((train, test))]
    return Source(source.name, parts[0], parts[1], spec)


def measured(source: Source, arm: str, seed: int) -> dict[str, float]:
    """The errors and the coverage of an arm, and its CPU seconds."""
    train, test = source.train.all(), source.test.all()
    truth = hidden_truth(source.test)
    assert truth is not None
    hidden = ~test.condition["observed"] & ~truth.isnan()
    began = time.process_time()
    cells, more = (RIVALS.get(arm) or ours(arm))(source, train, test, seed)
    seconds = time.process_time() - began
    if source.spec.kind != "table":
        return {"rmse": float((cells - truth)[hidden].square().mean().sqrt()), "cpu": seconds}
    columns = Columns.of(source.spec)
    unit = ColumnMeans.of(train.x, train.condition["observed"], columns).deviation
    errors = imputation_errors(cells, torch.where(hidden, truth, 0), hidden, columns, unit)
    found = {"rmse": errors.mean_rmse, "accuracy": errors.mean_accuracy, "cpu": seconds}
    wide = [place for place in columns.real if len(truth[:, place].unique()) >= FEW]
    if more is not None and wide:
        for name, inside in covered(more, truth, seed).items():
            shares = torch.where(hidden, inside.float(), torch.nan).nanmean(0)
            found[name] = float(shares[wide].nanmean())
    return found


def covered(found: Imputation, truth: Tensor, seed: int) -> dict[str, Tensor]:
    """Which true cells are in their intervals, and of which the rank among the draws is a central one, (N, D)."""
    near, low, high = 5e-5, *found.bounds  # half of the finest resolution of a column
    below, equal = (found.draws < truth - near).float(), ((found.draws - truth).abs() <= near).float()
    share = torch.rand(truth.shape, generator=torch.Generator().manual_seed(seed))
    rank = (below.sum(0) + share * (equal.sum(0) + 1)) / (len(found.draws) + 1)
    inside = (low <= truth + near) & (truth - near <= high)
    return {"covered": inside, "untied": (rank - 0.5).abs() <= INTERVAL / 2}


def table(found: Sequence[dict[str, Any]], world: str) -> str:
    """Means over seeds, with their spread for numbers, of the sets and arms of a world."""
    lines = ["| set | | error | right | covered | without ties | CPU s |", "|---|---|---|---|---|---|---|"]
    kept = [one for one in found if one["world"] == world]
    for name, arm in dict.fromkeys((one["set"], one["arm"]) for one in kept):
        some = [one for one in kept if (one["set"], one["arm"]) == (name, arm)]

        def cell(key: str, some: list[dict[str, Any]] = some) -> str:
            values = np.array([one.get(key, np.nan) for one in some])
            return "" if np.isnan(values).any() else f"{values.mean():.3f}".lstrip("0")

        spread = np.std([one["rmse"] for one in some], ddof=1) if len(some) > 1 else np.nan
        error = cell("rmse") + ("" if np.isnan(spread) else f" ± {spread:.3f}".replace(" 0.", " ."))
        cpu = np.mean([one["cpu"] for one in some])
        rest = " | ".join(cell(key) for key in ("accuracy", "covered", "untied"))
        lines.append(f"| {name} | {arm} | {error} | {rest} | {cpu:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--sets", default=SETS, type=names)
    parser.add_argument("--worlds", default=WORLDS, type=names)
    parser.add_argument("--arms", default=[*OURS, *RIVALS], type=names)
    parser.add_argument("--seeds", default=[0, 1, 2], type=lambda text: [int(s) for s in text.split(",")])
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--json", type=Path, help="append each figure to this file")
    given = parser.parse_args()
    found: list[dict[str, Any]] = []
    for world in given.worlds:
        for name in given.sets:
            for seed in given.seeds:
                source = opened(name, world, given.share, seed)
                for arm in given.arms:
                    one = {"world": world, "set": name, "seed": seed, "arm": arm}
                    found.append(one | measured(source, arm, seed))
                    if given.json:
                        with given.json.open("a") as file:
                            file.write(json.dumps(found[-1]) + "\n")
        print(f"\nmissing: {world}\n\n{table(found, world)}", flush=True)


if __name__ == "__main__":
    main()
