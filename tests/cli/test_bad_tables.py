"""Tables that cannot be read or imputed are refused in one sentence, before anything is written."""

import numpy as np
import pytest

import narrows as nr

ROWS = 40


def columns(**changed):
    rng = np.random.default_rng(0)
    made = {
        "pay": [f"{v:.2f}" for v in rng.normal(size=ROWS)],
        "age": [str(v) for v in rng.integers(50, size=ROWS)],
        "job": [("clerk", "baker")[v] for v in rng.integers(2, size=ROWS)],
    }
    made["age"][5] = made["job"][6] = ""
    return made | changed


def write(path, table):
    rows = zip(*table.values(), strict=True)
    path.write_text("\n".join([",".join(table), *map(",".join, rows)]) + "\n")
    return path


def with_cell(name, text):
    cells = columns()[name]
    return columns(**{name: [*cells[:3], text, *cells[4:]]})


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    path = write(folder / "t.csv", columns())
    return nr.fit(path, "missing-iwae", folder / "run", steps=2, samples=2, net="mlp:8", progress=False)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (dict.fromkeys(("pay", "age"), [""] * ROWS), "`pay` (none: all cells are missing)"),
        ({"pay": ["7"] * ROWS}, "no column that a model can read: `pay` (constant: one value: 7)"),
        (
            with_cell("pay", "inf"),
            "Column `pay` of t.csv is inf in row 3: infinite or too large. Correct or empty that cell.",
        ),
        (with_cell("pay", "1e300"), "Column `pay` of t.csv is 1e+300 in row 3"),
        (with_cell("pay", "many"), "Column `pay` of t.csv has numbers, but 'many' in row 3."),
    ],
)
def test_tables_that_cannot_be_fitted(refused, tmp_path, table, says):
    path = write(tmp_path / "t.csv", table)
    said = refused("fit", path, "--method", "missing-iwae", "--out", tmp_path / "run", "--no-progress")
    assert says in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (with_cell("pay", "-inf"), "Column `pay` of t.csv is -inf in row 3"),
        (
            with_cell("age", "old"),
            "Column `age` of t.csv was integer in the training data, but has the cell 'old' in row 3",
        ),
        (
            with_cell("age", "39.5"),
            "Column `age` of t.csv was integer in the training data, but has 39.5 in row 3. Round or empty it, or fit "
            "again with `--types age=real`.",
        ),
        (
            {name: cells for name, cells in columns().items() if name != "job"},
            "no column `job`, which the model needs",
        ),
        (
            columns(pay=["2024-01-01"] * ROWS),
            "Column `pay` of t.csv was real in the training data, and is dates now. Give it as it was.",
        ),
    ],
)
def test_tables_that_differ_from_the_training_data(refused, fitted, tmp_path, table, says):
    path = write(tmp_path / "t.csv", table)
    for verb in (["impute"], ["reconstruct", "--impute"], ["score"]):
        out = tmp_path / "out.csv"
        assert says in refused(verb[0], fitted.path, path, *verb[1:], "--out", out)
        assert not out.exists()


def test_a_column_that_is_all_missing_or_has_one_level_can_be_imputed(fitted, tmp_path):
    full = fitted.impute(write(tmp_path / "t.csv", columns(age=[""] * ROWS, job=["clerk"] * ROWS)), samples=5)
    assert np.isfinite(full["age"].astype(float)).all()
    assert set(full["job"]) == {"clerk"}


def test_a_level_that_the_training_data_do_not_have_is_said_and_stays(cli, fitted, tmp_path):
    path = write(tmp_path / "t.csv", with_cell("job", "diver"))
    code, _, said = cli("impute", fitted.path, path, "--out", tmp_path / "out.csv", "--samples", 5)
    assert code == 0
    assert "Column `job`: 1 cells have categories that the training data do not have." in said
    assert (tmp_path / "out.csv").read_text().count("diver") == 1
