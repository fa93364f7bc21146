"""Codes and scores as tables: what a spreadsheet opens, what a program reads, and what decode reads back."""

import csv
import json

import numpy as np
import pyarrow.parquet as parquet
import pytest

import narrows as nr
from narrows.cli.main import run as narrows
from narrows.core.check import RequestError
from narrows.runs.code_table import from_columns, to_columns

KINDS = {
    "vae": ["--latent", 3],
    "ae": ["--latent", 2, "--likelihood", "squared"],
    "vq-vae": ["--codes", 8],
    "fsq": [],
    "topk-sae": ["--latents", 32, "--k", 4],
    "jumprelu-sae": ["--latents", 24],
    "cvae": ["--latent", 2],
}
COLUMNS = {
    "vae": ["z0", "z1", "z2", "scale0", "scale1", "scale2"],
    "ae": ["z0", "z1"],
    "topk-sae": [f"{part}{n}" for n in range(4) for part in ("index", "value")] + ["width"],
    "jumprelu-sae": [f"z{n}" for n in range(24)],
    "cvae": ["z0", "z1", "scale0", "scale1", *(f"condition/labels{n}" for n in range(10))],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each kind of code."""
    folder = tmp_path_factory.mktemp("kinds")
    for method, options in KINDS.items():
        words = ["fit", "digits", "--method", method, "--out", folder / method, "--steps", 3, "--no-progress"]
        assert narrows([str(word) for word in [*words, *options]]) == 0
    return folder


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".npz"])
@pytest.mark.parametrize("method", KINDS)
def test_what_encode_wrote_is_decoded_to_the_reconstructions(cli, runs, tmp_path, method, ending):
    codes, back, direct = tmp_path / f"codes{ending}", tmp_path / "x.npz", tmp_path / "r.npz"
    assert cli("encode", runs / method, "digits", "--out", codes, "--limit", 15)[:2] == (0, "")
    assert cli("decode", runs / method, codes, "--out", back)[0] == 0
    assert cli("reconstruct", runs / method, "digits", "--out", direct, "--limit", 15)[0] == 0
    np.testing.assert_allclose(np.load(back)["x"], np.load(direct)["x"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", COLUMNS)
def test_a_table_has_a_named_column_for_each_latent(cli, runs, tmp_path, method):
    text, packed, arrays = (tmp_path / f"codes{ending}" for ending in (".csv", ".parquet", ".npz"))
    for path in (text, packed, arrays):
        cli("encode", runs / method, "digits", "--out", path, "--limit", 7)
    with text.open() as file:
        rows = list(csv.DictReader(file))
    table = parquet.read_table(packed)
    assert list(rows[0]) == table.column_names == COLUMNS[method]
    assert len(rows) == table.num_rows == 7
    known = np.load(arrays)
    first = "z0" if "z" in known else "value0"
    expected = known["z" if "z" in known else "values"][:, 0]
    np.testing.assert_array_equal(np.array([row[first] for row in rows], np.float32), expected)
    np.testing.assert_array_equal(table[first].to_numpy(), expected)


@pytest.mark.parametrize(
    ("method", "unit"), [("vae", "nll_nats"), ("fsq", "distortion_nats"), ("ae", "squared_error")]
)
def test_the_column_of_a_score_says_what_it_is(cli, runs, tmp_path, method, unit):
    text, packed, arrays = (tmp_path / f"score{ending}" for ending in (".csv", ".parquet", ".npz"))
    for path in (text, packed, arrays):
        code, out, _ = cli("score", runs / method, "digits", "--out", path, "--limit", 9, "--json")
        assert code == 0
        said = json.loads(out)
        assert (said["wrote"], said["rows"], said["holds"]) == (str(path), 9, [unit])
    run = nr.load(runs / method)
    from narrows.data import like

    examples = like(run.recipe.data, "digits", limit=9)
    expected = run.score(examples)
    assert run.score_unit(examples) == unit
    assert said["mean"] == pytest.approx(expected.mean())
    rows = list(csv.DictReader(text.read_text().splitlines()))
    np.testing.assert_array_equal([float(row[unit]) for row in rows], expected)
    np.testing.assert_array_equal(parquet.read_table(packed)[unit].to_numpy(), expected)
    np.testing.assert_array_equal(np.load(arrays)[unit], expected)
    if unit == "squared_error":
        lost = examples.all().x.numpy() - run.reconstruct(examples) / 16  # digits are from 0 to 16
        np.testing.assert_allclose(expected, np.square(lost).reshape(9, -1).sum(1), rtol=1e-4)


def test_a_score_that_mixes_squares_and_nats_says_so(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 3))
    run = nr.fit(x, "vae", tmp_path / "r", latent=1, likelihood="squared", steps=2, progress=False)
    assert run.score_unit() == "nll_nats_without_constant"


def test_arrays_of_any_shape_survive_the_table():
    rng = np.random.default_rng(0)
    codes = {
        "z": rng.normal(size=(4, 2, 3, 1)).astype(np.float32),
        "condition/labels": np.eye(4, dtype=np.float32),
    }
    columns = to_columns(codes)
    assert "z1_2_0" in columns
    back = from_columns({**columns, "note": np.array(["mine"] * 4)})
    assert set(back) == {"z", "condition/labels"}
    for name, array in codes.items():
        np.testing.assert_array_equal(back[name], array)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"z0": np.zeros(3), "z2": np.zeros(3)}, "of the codes are missing: 2 were found"),
        ({"z0": np.zeros(3), "z1_0": np.zeros(3)}, "of the codes are missing"),
        ({"z0": np.array(["a", "b"])}, "`z0` of the codes must hold numbers"),
        ({f"z{10**18}": np.zeros(3)}, "of the codes are missing"),
    ],
)
def test_tables_that_are_no_codes_are_refused(columns, says):
    with pytest.raises(RequestError, match=says):
        from_columns(columns)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "`z` or `indices`"),
        ("", "is empty"),
        ("z0,z1,z2\n1,2\n", "has 2 cells"),
        ("z0\n1\n", "shape"),
    ],
)
def test_files_that_are_no_codes_are_refused(refused, runs, tmp_path, text, says):
    path = tmp_path / "codes.csv"
    path.write_text(text)
    assert says in refused("decode", runs / "vae", path, "--out", tmp_path / "x.npz")


@pytest.mark.parametrize(
    "change",
    [
        {"z": np.ones((2, 5), np.float32)},
        {"z": np.full((2, 3), np.nan, np.float32)},
        {"z": np.array([["a", "b", "c"]])},
        {"z": np.float32(1)},
        {"z": np.ones((2, 3), np.complex64)},
        {"indices": np.array([[1, 2]])},
        {"z": np.ones((2, 3)), "condition/labels": np.ones((3, 3))},
    ],
)
def test_codes_of_another_make_are_refused(runs, change):
    with pytest.raises(RequestError):
        nr.load(runs / "vae").decode(change)


@pytest.mark.parametrize(
    "change",
    [
        {"width": np.array(9)},
        {"width": np.array([32, 32])},
        {"indices": np.full((7, 4), 32)},
        {"indices": np.full((7, 4), -1)},
        {"values": np.ones((7, 3), np.float32)},
        {"values": np.full((7, 4), np.inf, np.float32)},
    ],
)
def test_sparse_codes_of_another_make_are_refused(runs, change):
    run = nr.load(runs / "topk-sae")
    codes = run.encode(run.data.test.take(7))
    assert run.decode(codes).shape == (7, 1, 8, 8)
    with pytest.raises(RequestError):
        run.decode(codes | change)


def test_json_says_what_was_written(cli, runs, tmp_path):
    out = tmp_path / "x.npz"
    code, said, err = cli("sample", runs / "vae", "-n", 3, "--out", out, "--json")
    assert (code, json.loads(said)) == (0, {"wrote": str(out), "rows": 3, "holds": {"x": [3, 1, 8, 8]}})
    assert err == f"Wrote {out}\n"


@pytest.mark.parametrize("verb", ["encode", "reconstruct", "score", "sample", "decode"])
def test_long_verbs_say_how_far_they_are(runs, verb):
    told = []

    class Ear:
        def begin(self, title, total, done=0, what="steps"):
            told.append((title, total, what))

        def advance(self, done, metrics=None):
            told.append(done)

    run = nr.load(runs / "vae")
    examples = run.data.train
    if verb == "sample":
        run.sample(1100, progress=Ear())
        total = 1100
    elif verb == "decode":
        run.decode(run.encode(examples), progress=Ear())
        total = len(examples)
    else:
        getattr(run, verb)(examples, progress=Ear())
        total = len(examples)
    (title, said, what), *steps = told
    assert title
    assert (said, what) == (total, "rows")
    assert steps == sorted(set(steps))
    assert len(steps) > 2
    assert steps[-1] == total
