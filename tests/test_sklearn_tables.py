"""The estimators on tables with holes, levels and dates: frames in and out, imputation, and anomalies."""

import copy
import datetime as dt
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import get_tags

from narrows.audit.evidence.likelihood import importance_nll
from narrows.core.check import RequestError
from narrows.sklearn import VAE, AutoencoderEstimator, DenoisingAutoencoder, Imputer, SparseAutoencoder

QUICK = {"steps": 10, "random_state": 0}
KINDS = {
    "pandas": lambda t: t.to_pandas(),
    "polars": pl.from_arrow,
    "arrow": lambda t: t,
}


def people(rows=60):
    """Columns of several types, which all depend on a trade; a sixth of the cells is missing."""
    rng = np.random.default_rng(0)
    trade = rng.integers(3, size=rows)
    gone = rng.random((4, rows)) < 0.15

    def column(i, values, kind):
        return pa.array([None if lost else v for v, lost in zip(values, gone[i], strict=True)], kind)

    table = {
        "age": column(0, [int(30 + 12 * t + rng.integers(5)) for t in trade], pa.int64()),
        "pay": column(1, [float(t + rng.normal() / 5) for t in trade], pa.float64()),
        "born": column(2, [dt.date(1990 + int(t), 1, 1) for t in trade], pa.date32()),
        "town": column(3, [("Bern", "Oslo", "Rome")[t] for t in trade], pa.string()),
    }
    return pa.table(table), trade


def rows_of(frame):
    table = pa.table(frame)
    return pa.table({n: table.column(n) for n in ("age", "pay", "born", "town")}).to_pydict()


@pytest.mark.parametrize("kind", KINDS)
def test_imputation_gives_back_the_same_kind_of_frame_with_observed_cells_untouched(kind):
    frame = KINDS[kind](people()[0])
    model = VAE(latent=2, **QUICK).fit(frame)
    filled = model.impute(frame, samples=20)
    assert type(filled) is type(frame)
    before, after = rows_of(frame), rows_of(filled)
    for name, cells in before.items():
        known = [value == value and value is not None for value in cells]
        assert [v for v, k in zip(after[name], known, strict=True) if k] == [
            v for v, k in zip(cells, known, strict=True) if k
        ]
        assert all(value is not None and value == value for value in after[name])
    assert set(after["town"]) == {"Bern", "Oslo", "Rome"}
    drawn = model.sample(4)
    assert type(drawn) is type(frame)
    assert pa.table(drawn).num_rows == 4
    assert type(model.inverse_transform(model.transform(frame))) is type(frame)


def test_a_model_learns_what_is_missing_and_names_what_is_odd():
    """Columns follow the trade, so that the town is known from the others; a row that mixes trades is odd."""
    table, trade = people(400)
    model = VAE(latent=2, steps=400, lr=1e-2, contamination=0.05, calibration=0.25, random_state=0)
    model.fit(table)
    filled = rows_of(model.impute(table))
    gone = np.array(table.column("town").is_null())
    truth = np.array(["Bern", "Oslo", "Rome"])[trade]
    assert np.mean(np.array(filled["town"])[gone] == truth[gone]) > 0.9
    odd = pa.table(
        {
            "age": pa.array([58], pa.int64()),
            "pay": pa.array([0.0]),
            "born": pa.array([dt.date(1990, 1, 1)]),
            "town": ["Bern"],
        }
    )
    assert model.predict(odd).tolist() == [-1]
    assert (model.predict(table) == -1).mean() < 0.15
    np.testing.assert_array_equal(model.decision_function(odd) < 0, [True])


def test_the_threshold_is_the_quantile_of_scores_of_rows_that_were_kept_from_training():
    """A model of one step is the same whatever rows it saw, up to that step: fresh rows are flagged at the level."""
    rng = np.random.default_rng(0)
    X, fresh = rng.normal(size=(500, 3)), rng.normal(size=(2000, 3))
    model = VAE(latent=1, steps=30, contamination=0.1, calibration=0.4, random_state=0).fit(X)
    assert (model.predict(fresh) == -1).mean() == pytest.approx(0.1, abs=0.04)
    scores = model.score_samples(X)
    kept = np.random.default_rng((12, 500)).permutation(500)[:200]  # the calibration rows of the plan
    assert model.offset_ == pytest.approx(np.quantile(scores[kept], 0.1), rel=1e-9)
    assert set(np.unique(model.predict(X))) == {-1, 1}
    assert not hasattr(VAE(), "predict")
    with pytest.warns(UserWarning, match="calibration rows say little"):
        VAE(latent=1, contamination=0.01, **QUICK).fit(X[:50])
    with pytest.raises(RequestError, match="contamination"):
        VAE(contamination=1.5, **QUICK).fit(X)


def test_missing_cells_of_arrays_at_fit_and_after():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3)) * 5 + 100
    holes = X.copy()
    holes[::7, 1] = np.nan
    for train, test in ((holes, holes), (X, holes), (holes, X)):
        model = VAE(latent=2, **QUICK).fit(train)
        assert np.isfinite(model.transform(test)).all()
        assert np.isfinite(model.score_samples(test)).all()
        filled = model.impute(test, samples=20)
        np.testing.assert_array_equal(filled[~np.isnan(test)], test[~np.isnan(test)])
        assert np.abs(filled - 100).max() < 50
        assert model.sample(3).shape == (3, 3)
    marked = np.where(np.isnan(holes), -999, holes)
    other = VAE(latent=2, missing_values=-999, **QUICK).fit(marked)
    np.testing.assert_allclose(other.transform(marked), VAE(latent=2, **QUICK).fit(holes).transform(holes))


def test_scores_are_likelihoods_of_the_observed_cells():
    table, _ = people()
    model = VAE(latent=2, **QUICK).fit(table)
    data = model.rows_.dataset(model._read(table, reset=False)[1])
    batch = data.all().map(lambda t: t.double() if t.is_floating_point() else t)
    nll = np.mean([importance_nll(model.model_, batch, 32, seed).mean() for seed in range(20)])
    assert model.score_samples(table).mean() == pytest.approx(-nll, abs=0.3)
    first = model.score_samples(table)
    np.testing.assert_allclose(model.score_samples(table.slice(0, 5)), first[:5])


def test_tags_say_which_estimators_read_holes_and_levels():
    for estimator, reads in ((VAE(), True), (Imputer(), True), (SparseAutoencoder(), False)):
        tags = get_tags(estimator).input_tags
        assert (tags.allow_nan, tags.categorical) == (reads, reads)
    frame = people()[0].to_pandas()
    with pytest.raises(RequestError, match="`topk-sae` reads complete numbers, and column `age` has missing"):
        SparseAutoencoder(latents=8, k=2, **QUICK).fit(frame)
    with pytest.raises(ValueError, match="NaN"):
        SparseAutoencoder(latents=8, k=2, **QUICK).fit(np.array([[np.nan, 1.0], [2.0, 3.0]]))


def test_frames_in_pipelines_column_transformers_and_grid_searches():
    table, trade = people(90)
    frame, y = table.to_pandas().set_index(pd.Index(range(500, 590), name="key")), trade == 2
    steps = make_pipeline(VAE(latent=2, steps=60, lr=1e-2, random_state=0), LogisticRegression())
    search = GridSearchCV(steps, {"vae__latent": [1, 2]}, cv=3, error_score="raise").fit(frame, y)
    assert search.best_score_ > 0.7
    columns = ColumnTransformer(
        [
            ("code", VAE(latent=2, **QUICK), ["age", "pay", "town"]),
            ("filled", make_pipeline(Imputer("vae", samples=10, **QUICK), OneHotEncoder()), ["town", "pay"]),
        ]
    )
    wide = columns.set_output(transform="default").fit_transform(frame)
    assert wide.shape[0] == 90
    numbers = make_pipeline(Imputer("ae", {"latent": 1}, samples=10, **QUICK), StandardScaler())
    assert np.isfinite(numbers.fit_transform(frame[["age", "pay"]])).all()
    assert (
        GridSearchCV(Imputer("vae", **QUICK), {"options": [{"latent": 1}]}, cv=2).fit(frame).best_index_ == 0
    )


def test_output_containers_and_names_of_features():
    table, _ = people()
    frame = table.to_pandas().set_index(pd.Index(range(500, 560), name="key"))
    codes = VAE(latent=2, **QUICK).set_output(transform="pandas").fit_transform(frame)
    assert list(codes.columns) == ["vae0", "vae1"]
    assert codes.index.equals(frame.index)
    assert isinstance(
        VAE(latent=2, **QUICK).set_output(transform="polars").fit_transform(frame), pl.DataFrame
    )
    imputer = Imputer("vae", samples=10, **QUICK).set_output(transform="pandas").fit(frame)
    assert list(imputer.get_feature_names_out()) == list(frame.columns)
    filled = imputer.transform(frame)
    assert filled.index.equals(frame.index)
    assert filled["town"].isin(["Bern", "Oslo", "Rome"]).all()


def test_draws_of_the_imputer_vary_and_repeat():
    frame = people()[0].to_pandas()
    draw = Imputer("vae", sample_posterior=True, samples=50, **QUICK).fit(frame)
    one, again, other = (
        draw.impute(frame, sample_posterior=True, samples=50, random_state=seed) for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(one, again)
    assert not one.equals(other)
    pd.testing.assert_frame_equal(draw.transform(frame), draw.transform(frame))


def test_clones_and_copies_of_a_model_of_a_table():
    table, _ = people()
    model = DenoisingAutoencoder(latent=2, **QUICK).fit(table)
    again = copy.deepcopy(model)
    np.testing.assert_array_equal(again.transform(table), model.transform(table))
    assert not hasattr(clone(model), "model_")


def test_tables_that_changed_since_the_fit():
    table, _ = people()
    frame = table.to_pandas()
    model = VAE(latent=2, **QUICK).fit(frame)
    with pytest.warns(UserWarning, match="Column `town`: 1 cells have levels that it did not have"):
        codes = model.transform(frame.assign(town=["Paris", *frame["town"][1:]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = model.transform(frame.assign(town=[None, *frame["town"][1:]]))
    np.testing.assert_allclose(codes, same)
    with pytest.raises(RequestError, match=r"Column `age` of X was .* in the training data"):
        model.transform(frame.assign(age=["old"] * 60))
    with pytest.raises(ValueError, match="feature names"):
        model.transform(frame.rename(columns={"age": "years"}))
    with pytest.raises(RequestError, match="inf"):
        model.transform(frame.assign(pay=np.inf))
    with pytest.raises(RequestError, match="two columns named `age`"):
        VAE(**QUICK).fit(pd.concat([frame, frame[["age"]]], axis=1))


def test_columns_that_say_nothing_keep_their_cells():
    frame = people()[0].to_pandas().assign(name=[f"n{i}" for i in range(60)], empty=np.nan, one=1.0)
    frame.loc[3, "one"] = np.nan
    filled = Imputer("vae", samples=10, **QUICK).fit_transform(frame)
    assert filled["empty"].isna().all()
    assert (filled["one"] == 1).all()
    assert filled["name"].equals(frame["name"])


def test_declared_types_are_those_of_the_command_line():
    frame = people()[0].to_pandas()
    model = AutoencoderEstimator("vae", types={"town": "ordinal:Bern<Oslo<Rome", "age": "real"}, **QUICK).fit(
        frame
    )
    assert model.rows_.spec.parts["town"].values == "ordinal"
    assert model.rows_.spec.parts["age"].values == "real"
    with pytest.raises(RequestError, match="twon"):
        VAE(types={"twon": "categorical"}, **QUICK).fit(frame)
