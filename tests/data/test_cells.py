"""A user's cells: what was there comes back bit for bit, whatever the file, and what was not is filled in kind."""

import io

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from narrows.data.readers.cells import Cells, encoded

TEXT = """id,age,pay,job,member,zip,note
0001,39,1e3,clerk,true,01234,"a, b"
0002,,2.50,,False,,
0003,41,,nurse,,98765,"say ""so"" b"
"""


def from_csv(tmp_path, text=TEXT, **options):
    (tmp_path / "t.csv").write_text(text)
    return Cells.read(tmp_path / "t.csv", **options)


def filled(cells):
    cells.fill("age", [38.6])
    cells.fill("pay", [-0.125])
    cells.fill("job", ["clerk"])
    cells.fill("member", [1.0])
    cells.fill("zip", ["01234"])
    return cells


def test_a_csv_comes_back_as_it_was_but_for_its_holes(tmp_path):
    out = filled(from_csv(tmp_path)).encoded(".csv").decode()
    assert out.splitlines() == [
        "id,age,pay,job,member,zip,note",
        '0001,39,1e3,clerk,true,01234,"a, b"',
        "0002,39,2.50,clerk,False,01234,",
        '0003,41,-0.125,nurse,true,98765,"say ""so"" b"',
    ]


def test_a_csv_becomes_a_parquet_of_its_kinds(tmp_path):
    content = filled(from_csv(tmp_path)).encoded(".parquet")
    table = parquet.read_table(io.BytesIO(content)).to_pydict()
    assert table["age"] == [39, 39, 41]
    assert table["pay"] == [1000.0, 2.5, -0.125]
    assert table["job"] == ["clerk", "clerk", "nurse"]
    assert table["id"] == ["0001", "0002", "0003"]  # zeros before a number are kept
    assert table["zip"] == ["01234", "01234", "98765"]


def test_a_csv_becomes_an_npz_without_objects(tmp_path):
    arrays = np.load(io.BytesIO(filled(from_csv(tmp_path)).encoded(".npz")), allow_pickle=False)
    assert arrays["pay"].tolist() == [1000.0, 2.5, -0.125]
    assert arrays["job"].tolist() == ["clerk", "clerk", "nurse"]


@pytest.mark.parametrize(
    ("kind", "values", "fill", "wanted"),
    [
        (pa.int32(), [7, None, -2], [3.4], 3),
        (pa.float64(), [0.1, None, 1e-300], [2.5], 2.5),
        (pa.float64(), [1.0, None, 3.0], [2.4], 2.0),
        (pa.float32(), [0.1, float("nan"), 2.5], [1.5], 1.5),
        (pa.bool_(), [True, None, False], ["True"], True),
        (pa.string(), ["a", None, "b"], ["b"], "b"),
        (pa.string(), ["a", "", "b"], ["b"], "b"),
        (pa.dictionary(pa.int8(), pa.string()), ["a", None, "b"], ["b"], "b"),
        (pa.null(), [None], [0.5], 0.5),
    ],
)
def test_a_parquet_column_keeps_its_type_and_its_bits(tmp_path, kind, values, fill, wanted):
    column = pa.array(values, type=kind)
    parquet.write_table(pa.table({"a": column}), tmp_path / "t.parquet")
    cells = Cells.read(tmp_path / "t.parquet")
    cells.fill("a", fill * int(cells.holes("a").sum()))
    out = parquet.read_table(io.BytesIO(cells.encoded(".parquet"))).column("a")
    assert out.type == (pa.float64() if kind == pa.null() else kind)
    holes = [value is None or value != value or value == "" for value in values]
    before, after = column.to_pylist(), out.to_pylist()
    assert [b for b, hole in zip(before, holes, strict=True) if not hole] == [
        a for a, hole in zip(after, holes, strict=True) if not hole
    ]
    assert all(a == wanted for a, hole in zip(after, holes, strict=True) if hole)


def test_floats_of_a_parquet_survive_as_csv_and_back(tmp_path):
    values = np.random.default_rng(0).normal(size=200) * 10.0 ** np.arange(-100, 100)
    parquet.write_table(pa.table({"a": values}), tmp_path / "t.parquet")
    text = Cells.read(tmp_path / "t.parquet").encoded(".csv").decode().splitlines()[1:]
    assert np.array_equal(np.array([float(cell) for cell in text]), values)


def test_an_array_keeps_its_type_and_bits():
    values = np.array([0.1, np.nan, 0.3], dtype=np.float32)
    cells = Cells({"a": values})
    cells.fill("a", [0.25])
    assert cells.columns["a"].dtype == np.float32
    assert cells.columns["a"].tolist() == [values[0], 0.25, values[2]]
    assert np.isnan(values[1])  # the user's own array is left alone


def test_marks_of_missing_cells(tmp_path):
    cells = from_csv(tmp_path, "a,b\n1,?\n-999,x\n3,NaN\n", missing=("?", "-999"))
    assert cells.holes("a").tolist() == [False, True, False]
    assert cells.holes("b").tolist() == [True, False, True]


def test_several_draws_are_the_table_several_times(tmp_path):
    cells = from_csv(tmp_path).repeated(2)
    cells.fill("age", [1.0, 2.0])
    assert cells.columns["draw"].tolist() == [0, 0, 0, 1, 1, 1]
    assert cells.columns["age"] == ["39", "1", "41", "39", "2", "41"]
    assert cells.encoded(".csv").decode().startswith("draw,id,age")


def test_arrays_of_several_numbers_a_row_go_into_an_npz():
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert np.array_equal(np.load(io.BytesIO(encoded({"x": x}, ".npz")))["x"], x)
