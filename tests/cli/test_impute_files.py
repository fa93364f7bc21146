"""Imputed files: observed cells are those of the original, bit for bit; intervals and effective sample sizes."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import narrows as nr
from narrows.core.check import RequestError

ROWS = 80


def every_type():
    """A table with a column of each type of Arrow that a table is read of, and some that are not read."""
    rng = np.random.default_rng(0)
    k = rng.integers(1, 5, ROWS)
    moment = dt.datetime(2024, 1, 1, 3, 4, 5, 678901, tzinfo=dt.UTC)
    cells = {
        **{name: (k + rng.integers(2, size=ROWS)).tolist() for name in ("int8", "int16", "int32", "int64")},
        **{name: (k * 3).tolist() for name in ("uint8", "uint16", "uint32", "uint64")},
        **{name: [np.float16(v) for v in k / 8] for name in ("float16",)},
        **{name: (k / 3 + rng.normal(size=ROWS)).tolist() for name in ("float32", "float64")},
        "bool": (k > 2).tolist(),
        "string": [f"a{v}" for v in k],
        "large_string": [f"b{v}" for v in k],
        "decimal": [Decimal(int(v * 101)) / 100 for v in k],
        "date32": [dt.date(2020, 2, int(v)) for v in k],
        "stamp_us": [moment + dt.timedelta(hours=int(v)) for v in k],
        "stamp_ns": [moment + dt.timedelta(days=int(v)) for v in k],
    }
    kinds = {
        "decimal": pa.decimal128(9, 2),
        "stamp_us": pa.timestamp("us", "Europe/Berlin"),
        "stamp_ns": pa.timestamp("ns"),
    }
    gone = rng.random((len(cells), ROWS)) < 0.15
    columns = {
        name: pa.array(
            [None if lost else v for v, lost in zip(values, gone[i], strict=True)],
            kinds.get(name) or getattr(pa, name.replace("bool", "bool_"))(),
        )
        for i, (name, values) in enumerate(cells.items())
    }
    columns["level"] = columns["string"].dictionary_encode()
    columns["float64"] = pa.array([-0.0, 5e-324, *columns["float64"].to_pylist()[2:]], pa.float64())
    columns["list"] = pa.array([[1, 2], None] * (ROWS // 2))
    columns["binary"] = pa.array([b"x", None] * (ROWS // 2))
    return pa.table(columns).replace_schema_metadata({"made": "by hand"})


def bits(column, there):
    """The cells where `there`, as what is stored: floats as integers, so that -0.0 is not 0.0."""
    column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        stored = np.frombuffer(column.buffers()[1], f"i{column.type.bit_width // 8}")
        return stored[column.offset :][: len(column)][there].tolist()
    return column.filter(pa.array(there)).to_pylist()


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("every")
    parquet.write_table(every_type(), folder / "t.parquet")
    names = [name for name in every_type().column_names if name not in ("list", "binary")]
    how = {"progress": False, "data_options": {"columns": names}, "samples": 3}
    return nr.fit(folder / "t.parquet", "missing-iwae", folder / "run", steps=10, **how), folder / "t.parquet"


def test_only_nulls_change_in_a_file_with_columns_of_all_types(cli, fitted, tmp_path):
    run, path = fitted
    out = tmp_path / "full.parquet"
    code, said, _ = cli("reconstruct", run.path, path, "--impute", "--samples", 20, "--out", out)
    assert (code, said) == (0, "")
    before, after = parquet.read_table(path), parquet.read_table(out)
    assert after.schema.equals(before.schema, check_metadata=True)
    assert set(run.recipe.spec.parts) == {*before.column_names} - {"list", "binary"}
    for name in before.column_names:
        there = ~np.array(before[name].is_null())
        assert bits(after[name], there) == bits(before[name], there), name
        assert after[name].null_count == (0 if name in run.recipe.spec.parts else before[name].null_count)


def test_both_spellings_write_the_same_file(cli, fitted, tmp_path):
    run, path = fitted
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    more = ["--samples", 20, "--draws", 3]
    assert cli("reconstruct", run.path, path, "--impute", "--out", one, *more)[0] == 0
    assert cli("impute", run.path, path, "--out", two, *more)[0] == 0
    assert one.read_bytes() == two.read_bytes()
    table = parquet.read_table(one)
    assert table["draw"].to_pylist() == [0] * ROWS + [1] * ROWS + [2] * ROWS


def test_intervals_are_columns_of_the_types_of_the_numbers(cli, fitted, tmp_path):
    run, path = fitted
    out = tmp_path / "full.parquet"
    code, _, err = cli("impute", run.path, path, "--out", out, "--intervals", 0.9, "--ess", "--samples", 4)
    assert code == 0
    assert "effective sample size below 10" in err
    before, after = parquet.read_table(path), parquet.read_table(out)
    assert "_lower" not in err, "the columns that were added have no empty cells to speak of"
    assert after.column_names[: before.num_columns] == before.column_names
    for name in ("int8", "uint64", "float32", "decimal", "stamp_us", "date32"):
        low, high, value = (after[f"{name}{end}"] for end in ("_lower", "_upper", ""))
        assert low.type == high.type == value.type
        assert low.is_null().equals(high.is_null())
        assert low.is_valid().to_pylist() == before[name].is_null().to_pylist()
        pairs = zip(low.to_pylist(), high.to_pylist(), strict=True)
        assert all(a is None or a <= b for a, b in pairs)
    assert "level_lower" not in after.column_names
    assert "bool_lower" not in after.column_names
    some = [
        any(row)
        for row in zip(*(before[n].is_null().to_pylist() for n in run.recipe.spec.parts), strict=True)
    ]
    assert [value == value for value in after["ess"].to_pylist()] == some  # NaN without missing cells


def test_intervals_of_an_array(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 3))
    x[::4, 1] = np.nan
    run = nr.fit(x, "ae", tmp_path / "r", steps=2, progress=False)
    found = run.impute(x, intervals=0.5, ess=True)
    assert {name: array.shape for name, array in found.items()} == {
        "x": (60, 3),
        "lower": (60, 3),
        "upper": (60, 3),
        "ess": (60,),
    }
    holes = np.isnan(x)
    assert np.array_equal(~np.isnan(found["lower"]), holes)
    assert (found["lower"][holes] <= found["upper"][holes]).all()


def test_columns_of_the_names_of_added_ones_are_refused(fitted, tmp_path):
    x = {
        "a": [1.0, 2.5, None, 4.0] * 5,
        "a_lower": [0.5, 1.0, 3.5, 2.0] * 5,
        "draw": [1.5, 2.0, 3.0, 4.0] * 5,
    }
    run = nr.fit(pa.table(x), "ae", tmp_path / "r", steps=2, progress=False)
    with pytest.raises(RequestError, match="column `a_lower`"):
        run.impute(pa.table(x), intervals=0.9)
    with pytest.raises(RequestError, match="column `draw`"):
        run.impute(pa.table(x), draws=2)


def test_intervals_out_of_range_or_of_draws_are_refused(refused, fitted, tmp_path):
    run, path = fitted
    words = ["impute", run.path, path, "--out", tmp_path / "x.parquet"]
    for value in ("1", "-0.1", "nan"):
        assert "--intervals" in refused(*words, f"--intervals={value}")
    assert "--draws" in refused(*words, "--intervals", 0.9, "--draws", 3)
    assert not (tmp_path / "x.parquet").exists()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Images of one of two patterns with noise, a fifth of their pixels missing, and a run of them."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("images")
    patterns = rng.random((2, 6, 6, 1)) > 0.5
    full = (0.8 * patterns[rng.integers(2, size=500)] + 0.2 * rng.random((500, 6, 6, 1))).astype(np.float32)
    x = np.where(rng.random(full.shape) < 0.2, np.nan, full)
    np.save(folder / "x.npy", x)
    run = nr.fit(folder / "x.npy", "iwae", folder / "run", steps=150, latent=2, net="mlp:32", progress=False)
    return run, folder / "x.npy", x, full


def test_images_with_missing_pixels_are_fitted_scored_audited_and_imputed(cli, images, tmp_path):
    run, path, x, full = images
    assert run.recipe.spec.shape == (1, 6, 6)
    assert cli("impute", run.path, path, "--out", tmp_path / "full.npz", "--intervals", 0.9)[0] == 0
    found = np.load(tmp_path / "full.npz")
    holes = np.isnan(x)
    assert found["x"].dtype == x.dtype
    assert np.array_equal(found["x"][~holes].view(np.int32), x[~holes].view(np.int32))
    error = np.square(found["x"] - full)[holes].mean()
    assert error < 0.3 * np.square(np.nanmean(x, 0) - full)[holes].mean()
    assert np.array_equal(np.isnan(found["lower"]), ~holes)
    assert (found["lower"] <= found["upper"])[holes].all()
    assert np.isfinite(run.score(path)).all()
    assert nr.load(run.path).encode(path)["z"].shape == (500, 2)
    assert run.impute(x[:3], draws=4, samples=5).shape == (4, 3, 6, 6, 1)
    assert np.isfinite(run.score(full[:5])).all()
    longer = nr.resume(run.path, steps=160, progress=False)
    assert {check.name for check in longer.audit(write=False).checks} >= {"nll", "rate"}


def test_arrays_are_written_as_arrays(refused, images, tmp_path):
    run, path, _, _ = images
    assert ".npz" in refused("impute", run.path, path, "--out", tmp_path / "x.csv")


def test_hidden_pixels_are_judged_by_the_audit(tmp_path):
    how = {"steps": 150, "progress": False, "data_options": {"missing": 0.2}}
    run = nr.fit("digits", "ae", tmp_path / "r", latent=8, **how)
    (found,) = (check for check in run.audit(write=False).checks if check.name == "imputation/rmse")
    full = nr.data.open("digits").test.all().x
    batch = run.data.test.all()
    hidden = batch.weight == 0
    cells = run.model.reconstruct(batch)
    assert found.value == pytest.approx(float((cells - full)[hidden].square().mean().sqrt()), rel=1e-4)
    assert found.value < found.chance
    assert found.verdict == "ok"
