"""A user's table with holes, from the first command to the filled file."""

import csv
import json

import numpy as np
import pyarrow.parquet as parquet
import pytest

import narrows as nr
from narrows.core.check import RequestError

ROWS = 400


def people(path, seed=0, holes=0.15, rows=ROWS):
    """Write a table in which the columns say much of each other; return the true cells and which are missing."""
    rng = np.random.default_rng(seed)
    trade = rng.integers(3, size=rows)
    age = np.rint(30 + 12 * trade + 3 * rng.standard_normal(rows)).astype(int)
    pay = 10.5 * trade + 0.5 * rng.standard_normal(rows)
    columns = {
        "id": [f"{i:04d}" for i in range(rows)],
        "trade": [("baker", "clerk, senior", "smith")[t] for t in trade],
        "age": [str(a) for a in age],
        "pay": [f"{p:.3f}" for p in pay],
        "member": [str(t > 0).lower() for t in trade],
    }
    gone = {name: rng.random(rows) < (0 if name == "id" else holes) for name in columns}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in range(rows):
            writer.writerow("" if gone[name][row] else columns[name][row] for name in columns)
    return columns, gone


def read(path):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A run on such a table, the table, and its truth."""
    folder = tmp_path_factory.mktemp("impute")
    truth, gone = people(folder / "people.csv")
    run = nr.fit(
        folder / "people.csv",
        "missing-iwae",
        out=folder / "run",
        steps=700,
        lr=3e-3,
        progress=False,
        data_options={"columns": ["trade", "age", "pay", "member"]},
        samples=5,
    )
    return run, folder / "people.csv", truth, gone


def test_what_was_there_is_there_and_the_rest_is_likely(cli, fitted, tmp_path):
    run, table, truth, gone = fitted
    out = tmp_path / "full.csv"
    code, said, err = cli("impute", run.path, table, "--out", out)
    assert (code, said) == (0, "")
    assert "Imputed" in err
    before, after = read(table), read(out)
    assert list(after) == list(before)
    for name, cells in before.items():
        assert [a for a, b in zip(after[name], cells, strict=True) if b] == [b for b in cells if b]
        assert all(after[name])
    holes = np.flatnonzero(gone["trade"])
    right = np.mean([after["trade"][i] == truth["trade"][i] for i in holes])
    assert right > 0.9  # a third would be chance
    holes = np.flatnonzero(gone["age"])
    error = np.array(
        [int(after["age"][i]) - int(truth["age"][i]) for i in holes]
    )  # whole numbers, as the others
    assert np.abs(error).mean() < 5  # the mean of the column is 9 off
    assert set(after["member"]) == {"true", "false"}


def test_other_files_and_formats(cli, fitted, tmp_path):
    run, table, _, _ = fitted
    typed, back = tmp_path / "full.parquet", tmp_path / "again.parquet"
    assert cli("impute", run.path, table, "--out", typed, "--samples", 50)[0] == 0
    columns = parquet.read_table(typed)
    assert [str(t) for t in columns.schema.types] == ["string", "string", "int64", "double", "string"]
    assert columns.column("id").to_pylist()[7] == "0007"
    people(tmp_path / "new.csv", seed=1, rows=30)
    assert cli("impute", run.path, tmp_path / "new.csv", "--out", back, "--samples", 50)[0] == 0
    code, said, _ = cli("impute", run.path, back, "--out", tmp_path / "third.npz", "--json")
    assert (code, json.loads(said)["filled"]) == (0, {})
    arrays = np.load(tmp_path / "third.npz", allow_pickle=False)
    assert arrays["pay"].tolist() == parquet.read_table(back).column("pay").to_pylist()


def test_a_number_of_samples_is_positive(cli, fitted, tmp_path):
    run, table, _, _ = fitted
    for samples in (0, -3):
        code, said, err = cli("impute", run.path, table, "--out", tmp_path / "x.csv", "--samples", samples)
        assert (code, said) == (2, "")
        assert "--samples" in err
        assert str(samples) in err
    assert not (tmp_path / "x.csv").exists()


def test_draws_differ_where_there_were_holes_and_nowhere_else(cli, fitted, tmp_path):
    run, table, _, gone = fitted
    out = tmp_path / "draws.csv"
    assert cli("impute", run.path, table, "--out", out, "--draws", 2, "--samples", 50)[0] == 0
    columns = read(out)
    assert columns["draw"] == ["0"] * ROWS + ["1"] * ROWS
    first, second = columns["pay"][:ROWS], columns["pay"][ROWS:]
    assert [a != b for a, b in zip(first, second, strict=True)] == gone["pay"].tolist()


def test_unknown_words_stay_and_are_said(cli, fitted, tmp_path):
    run, _, _, _ = fitted
    (tmp_path / "odd.csv").write_text("pay,trade,age,member,more\n1.5,weaver,,true,\n2,,40,false,x\n")
    out = tmp_path / "out.csv"
    code, _, err = cli("impute", run.path, tmp_path / "odd.csv", "--out", out)
    assert code == 0
    assert "`trade`: 1 cells" in err
    assert "`more`" in err
    columns = read(out)
    assert list(columns) == ["pay", "trade", "age", "member", "more"]
    assert columns["trade"][0] == "weaver"
    assert columns["more"] == ["", "x"]
    assert columns["age"][0].isdigit()


def test_a_column_that_is_gone_is_refused(refused, fitted, tmp_path):
    run, _, _, _ = fitted
    (tmp_path / "few.csv").write_text("pay,age,member\n1.5,3,true\n2,,false\n")
    assert "no column `trade`" in refused(
        "impute", run.path, tmp_path / "few.csv", "--out", tmp_path / "o.csv"
    )


def test_array_methods_say_what_to_do_about_holes(refused, fitted, tmp_path):
    _, table, _, _ = fitted
    said = refused("fit", table, "--method", "topk-sae", "--out", tmp_path / "v", "--columns", "age,pay")
    assert "missing-iwae" in said


def test_a_run_of_complete_arrays_has_nothing_to_impute(tmp_path):
    x = np.random.default_rng(0).random((40, 1, 8, 8)).astype(np.float32)
    run = nr.fit(x, "vae", out=tmp_path / "v", steps=1, progress=False)
    with pytest.raises(RequestError, match="missing-iwae"):
        run.impute(x)


def test_arrays_with_nan_come_back_as_arrays(tmp_path):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((200, 1)) @ np.ones((1, 4)) + 0.1 * rng.standard_normal((200, 4))).astype(
        np.float64
    )
    holed = np.where(rng.random(x.shape) < 0.2, np.nan, x)
    run = nr.fit(holed, "missing-iwae", out=tmp_path / "a", steps=400, lr=3e-3, progress=False)
    full = run.impute(holed)
    seen = ~np.isnan(holed)
    assert (full.dtype, full.shape) == (np.float64, x.shape)
    assert np.array_equal(full[seen], x[seen])
    assert np.square(full - x)[~seen].mean() < 0.3 * x.var()
    again = run.impute(holed)
    assert np.array_equal(full, again)
    assert run.impute(holed, draws=3).shape == (3, *x.shape)


def test_hidden_cells_are_judged_by_the_audit(tmp_path):
    run = nr.fit(
        "linear",
        "missing-iwae",
        out=tmp_path / "l",
        steps=300,
        lr=3e-3,
        progress=False,
        data_options={"n": 2000, "tests": 300, "missing": 0.2},
    )
    test = run.data.test
    hidden = test.all().weight == 0
    assert 0.17 < float(hidden.float().mean()) < 0.23
    checks = {check.name: check for check in nr.load(run.path).audit(write=False).checks}
    assert checks["imputation/rmse"].value < checks["imputation/mean"].value
    assert checks["imputation/rmse"].verdict == "ok"
    again = nr.load(run.path).data.test
    assert np.array_equal(again.x.numpy(), test.x.numpy(), equal_nan=True)  # the same cells are hidden again
