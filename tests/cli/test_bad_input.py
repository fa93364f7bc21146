"""What a user types with a table or counts that cannot be read: one sentence, and nothing is written or lost."""

import numpy as np
import pytest

ROWS = 40
FIT = ["--method", "vae", "--latent", 1, "--steps", 3, "--no-progress"]
COUNTS = [
    "--method",
    "scvi",
    "--latent",
    2,
    "--net",
    "mlp:8",
    "--steps",
    3,
    "--no-progress",
    "--scale",
    "counts",
]


def columns(**changed):
    """The columns of a table of people, some of them changed; None removes one."""
    rng = np.random.default_rng(0)
    made = {
        "age": [str(v) for v in rng.integers(20, 60, ROWS)],
        "job": [str(v) for v in rng.choice(["clerk", "cook", "nurse"], ROWS)],
        "pay": [f"{v:.3f}" for v in rng.normal(size=ROWS)],
    }
    return {name: cells for name, cells in (made | changed).items() if cells is not None}


def with_cell(cells, row, text):
    return [*cells[:row], text, *cells[row + 1 :]]


def written(path, table):
    lines = [",".join(table), *(",".join(row) for row in zip(*table.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


PAY, JOB = columns()["pay"], columns()["job"]
DAYS = [f"2024-01-{i % 28 + 1:02d}" for i in range(ROWS)]


@pytest.mark.parametrize(
    ("table", "options", "says"),
    [
        (
            columns(none=[""] * ROWS),
            ["--columns", "age,none"],
            "All cells of column `none` of t.csv are missing. Leave it out",
        ),
        (
            {"x": ["1"] * ROWS, "y": ["a"] * ROWS},
            ["--labels", "none"],
            "`x` (constant: one value: 1); `y` (constant",
        ),
        (
            columns(name=[f"n{i}" for i in range(ROWS)]),
            ["--types", "name=ordinal:" + "<".join(f"n{i}" for i in range(ROWS + 1))],
            "Column `name` of t.csv has 41 levels, more than its 40 rows",
        ),
        (
            columns(day=with_cell(DAYS, 7, "2024-02-30")),
            [],
            "has dates, but '2024-02-30' in row 7",
        ),
        (
            columns(day=with_cell(DAYS, 7, "2024-02-30")),
            ["--types", "day=datetime"],
            "is declared datetime, but '2024-02-30' in row 7 is not a date",
        ),
        (
            columns(pay=with_cell(PAY, 5, "high")),
            [],
            "Column `pay` of t.csv has numbers, but 'high' in row 5",
        ),
        (
            columns(pay=with_cell(PAY, 5, "inf")),
            [],
            "Column `pay` of t.csv is inf in row 5: infinite or too large",
        ),
        (
            {"age": ["1", "2"], "pay": ["1", "inf"]},
            [],
            "`pay` of t.csv is infinite in 1 rows; the first is row 1",
        ),
        (
            columns(),
            ["--types", "pay=count"],
            "Column `pay` of t.csv is declared count: whole numbers from 0",
        ),
        (columns(), ["--types", "agee=real"], "Did you mean `age`?"),
    ],
)
def test_tables_that_no_model_reads(refused, tmp_path, table, options, says):
    assert says in refused(
        "fit", written(tmp_path / "t.csv", table), *FIT, *options, "--out", tmp_path / "run"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv"]


def test_two_columns_of_one_name(refused, tmp_path):
    (tmp_path / "t.csv").write_text("age,age\n1,2\n3,4\n")
    assert "two columns named `age`. Rename one." in refused(
        "fit", tmp_path / "t.csv", *FIT, "--out", tmp_path / "run"
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A model of the table of people."""
    from narrows.cli.main import run

    folder = tmp_path_factory.mktemp("people")
    words = ["fit", written(folder / "people.csv", columns()), *FIT, "--out", folder / "run"]
    assert run([str(word) for word in words]) == 0
    return folder / "run"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            {"age": ["old"] * ROWS},
            "`age` of t.csv was integer in the training data, but has the cell 'old' in row 0",
        ),
        (
            {"age": ["2024-01-01"] * ROWS},
            "Column `age` of t.csv was integer in the training data, and is dates now",
        ),
        (
            {"job": ["34"] * ROWS},
            "Column `job` of t.csv was categorical in the training data, with levels such as",
        ),
        ({"pay": None}, "t.csv has no column `pay`, which the model needs"),
        ({"pay": with_cell(PAY, 5, "inf")}, "Column `pay` of t.csv is inf in row 5"),
    ],
)
@pytest.mark.parametrize("verb", ["score", "encode"])
def test_columns_that_changed_since_the_fit(refused, fitted, tmp_path, verb, changed, says):
    table = written(tmp_path / "t.csv", columns(**changed))
    assert says in refused(verb, fitted, table, "--out", tmp_path / "o.csv")
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.parametrize("verb", ["score", "encode", "reconstruct"])
def test_unseen_levels_are_said(cli, fitted, tmp_path, verb):
    table = written(tmp_path / "t.csv", columns(job=["baker", *JOB[1:20], "baker", *JOB[21:]]))
    code, _, err = cli(verb, fitted, table, "--out", tmp_path / "o.csv")
    assert code == 0
    assert (
        "Column `job`: 2 cells have levels that the training data do not have. They are read as missing."
        in err
    )
    code, _, err = cli(
        verb, fitted, written(tmp_path / "same.csv", columns()), "--out", tmp_path / "same-o.csv"
    )
    assert (code, "training data" in err) == (0, False)


def test_fewer_calibration_rows_than_a_level_needs(refused, fitted, tmp_path):
    says = refused(
        "score", fitted, fitted.parent / "people.csv", "--alpha", 0.01, "--out", tmp_path / "o.csv"
    )
    assert "`--alpha 0.01` needs at least 99 calibration rows, and there are 4" in says
    assert not (tmp_path / "o.csv").exists()


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Counts, and a model of them."""
    from narrows.cli.main import run

    folder = tmp_path_factory.mktemp("cells")
    x = np.random.default_rng(0).poisson(1.0, (ROWS, 6))
    x[:, 0] += 1
    x[:, 4] = 0
    np.savez(folder / "c.npz", x=x)
    assert run([str(word) for word in ["fit", folder / "c.npz", *COUNTS, "--out", folder / "run"]]) == 0
    return x, folder / "run"


@pytest.mark.parametrize(
    ("row", "says", "fits"),
    [
        (
            [0] * 6,
            "All counts are 0 in 1 of the rows of the data (9)",
            "All counts are 0 in 1 of the rows of the",
        ),
        ([1, -1, 0, 2, 0, 0], "these data have -1 in row 9, column 1", ""),
        ([1, 0.5, 0, 2, 0, 0], "these data have 0.5 in row 9, column 1", ""),
    ],
)
def test_rows_that_are_no_counts(refused, cells, tmp_path, row, says, fits):
    x, run = cells
    wrong = x.astype(np.float64)
    wrong[9] = row
    np.savez(tmp_path / "w.npz", x=wrong)
    assert (fits or says) in refused("fit", tmp_path / "w.npz", *COUNTS, "--out", tmp_path / "run")
    for verb in ("score", "encode"):
        assert says in refused(verb, run, tmp_path / "w.npz", "--out", tmp_path / "o.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.npz"]


def test_columns_of_counts_that_are_all_zero_are_said(cli, cells, tmp_path):
    np.savez(tmp_path / "c.npz", x=cells[0])
    options = [option for option in COUNTS if option != "--no-progress"]
    err = cli("fit", tmp_path / "c.npz", *options, "--out", tmp_path / "run")[2]
    assert "1 of 6 columns of counts are 0 in all training rows (from 0: 4)" in err


def test_columns_of_a_file_by_declared_types_and_markers(cli, refused, tmp_path):
    table = written(tmp_path / "t.csv", columns())
    shown = cli("data", "info", table, "--types", "age=categorical", "--missing-values", "cook")[
        1
    ].splitlines()
    kinds = {line.split()[0]: line.split()[1] for line in shown[2:5]}
    assert kinds["age"] == "categorical"
    assert next(line for line in shown if line.startswith("job")).count("%")
    assert "Did you mean `age`?" in refused("data", "info", table, "--types", "agee=real")
    assert "`types` must be left out" in refused("data", "info", "digits", "--types", "age=real")
