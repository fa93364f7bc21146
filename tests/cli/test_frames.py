"""Data frames in and out: a frame of the same kind, with the types, levels and time zones that it had."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import narrows as nr
from narrows.core.check import RequestError
from narrows.data import open as open_data
from narrows.data.readers.frames import arrow_columns, framed
from narrows.data.schema.written import cells_of

ROWS = 60
ZONE = "Europe/Berlin"


def people(rows=ROWS):
    """A table of all types, in which some cells are missing."""
    rng = np.random.default_rng(0)
    trade = rng.integers(3, size=rows)
    gone = rng.random((8, rows)) < 0.15

    def column(i, values, kind):
        return pa.array([None if lost else v for v, lost in zip(values, gone[i], strict=True)], kind)

    grades = pa.DictionaryArray.from_arrays(
        column(0, trade.tolist(), pa.int8()), ["low", "mid", "high"], ordered=True
    )
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    return pa.table(
        {
            "key": pa.array([f"k{i:03d}" for i in range(rows)]),
            "grade": grades,
            "age": column(1, [int(30 + 12 * t + rng.integers(5)) for t in trade], pa.int16()),
            "pay": column(2, [10.5 * t + float(rng.normal()) for t in trade], pa.float32()),
            "cost": column(
                3, [Decimal(int(t * 100 + rng.integers(99))) / 100 for t in trade], pa.decimal128(9, 2)
            ),
            "member": column(4, [bool(t) for t in trade], pa.bool_()),
            "seen": column(
                5, [start + dt.timedelta(hours=int(i)) for i in range(rows)], pa.timestamp("ms", ZONE)
            ),
            "born": column(
                6, [dt.date(1990, 1, 1 + int(t) * 5 + int(i % 5)) for i, t in enumerate(trade)], pa.date32()
            ),
            "town": column(7, [("Bern", "Oslo", "Rome")[t] for t in trade], pa.large_string()),
        }
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    table = people()
    out = tmp_path_factory.mktemp("frames") / "run"
    return nr.fit(table, "missing-iwae", out=out, steps=20, samples=3, progress=False), table


def test_types_are_read_from_arrow(fitted):
    run, _ = fitted
    kinds = {name: part.values for name, part in run.recipe.spec.parts.items()}
    assert kinds == {
        "grade": "ordinal",
        "age": "integer",
        "pay": "real",
        "cost": "real",
        "member": "binary",
        "seen": "datetime",
        "born": "datetime",
        "town": "categories",
    }
    assert run.recipe.spec.parts["grade"].vocabulary == ("low", "mid", "high")
    assert run.data.left_out["key"].startswith("id")
    assert run.recipe.data["spec"]["parts"]["seen"]["column"]["dtype"] == f"timestamp[ms, tz={ZONE}]"


def test_imputed_frames_have_the_types_of_the_original_and_its_cells(fitted):
    run, table = fitted
    full = run.impute(table, samples=20)
    assert full.schema.types == table.schema.types
    for name in table.column_names:
        before, after = table.column(name).to_pylist(), full.column(name).to_pylist()
        assert None not in after
        assert [a for a, b in zip(after, before, strict=True) if b is not None] == [
            b for b in before if b is not None
        ]


def test_a_file_of_draws_has_the_types_and_the_time_zone(cli, fitted, tmp_path):
    run, table = fitted
    assert cli("sample", run.path, "--n", 7, "--out", tmp_path / "new.parquet")[0] == 0
    new = parquet.read_table(tmp_path / "new.parquet")
    assert new.num_rows == 7
    assert new.schema.types == [table.schema.field(name).type for name in new.column_names]
    assert cli("sample", run.path, "--n", 7, "--out", tmp_path / "new.csv")[0] == 0
    lines = (tmp_path / "new.csv").read_text().splitlines()
    assert lines[0] == ",".join(new.column_names)
    assert len(lines) == 8
    columns = run.sample(7)
    assert list(columns) == new.column_names
    assert set(columns["grade"]) <= {"low", "mid", "high"}
    frame = columns.frame(table)
    assert [frame.schema.field(name).type for name in frame.column_names] == new.schema.types
    assert all(
        moment.second == moment.microsecond == 0 for moment in frame["seen"].to_pylist()
    )  # hours in training
    again = run.decode(run.encode(table))
    assert len(again["town"]) == ROWS


def test_scores_and_codes_of_frames(fitted):
    run, table = fitted
    assert len(run.score(table, samples=4)) == ROWS
    assert len(run.encode(table.slice(0, 5))["z"]) == 5


def test_other_kinds_of_frames_come_back_as_they_went(fitted):
    run, table = fitted

    class Frame:
        """As those of polars: made from a table of Arrow."""

        def __init__(self, table):
            self.table, self.columns = table, table.column_names

        def __arrow_c_stream__(self, requested=None):
            return self.table.__arrow_c_stream__(requested)

    full = run.impute(Frame(table), samples=5)
    assert isinstance(full, Frame)
    assert full.table.schema.types == table.schema.types


def test_methods_for_arrays_read_the_numbers_of_a_frame():
    source = open_data(
        pa.table({"a": [1.0, 2.0, 4.0], "b": [0.5, 1.5, 9.0], "label": ["x", "y", "x"]}), split=0.4
    )
    assert source.spec.shape == (2,)
    assert source.train.class_names == ("x", "y")


def test_bad_frames_are_refused():
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(RequestError, match="two columns named `a`"):
        arrow_columns(twice)
    with pytest.raises(RequestError, match="no rows"):
        arrow_columns(pa.table({"a": pa.array([], pa.int64())}))
    with pytest.raises(RequestError, match=r"was integer .*and is dates .* now"):
        run_kind_changed()


def run_kind_changed():
    from narrows.data.readers.cells import Cells
    from narrows.data.readers.mixed import mixed

    parts = mixed(Cells.of_frame(pa.table({"a": [1, 2, 4]})), ["a"], "t").parts
    mixed(Cells.of_frame(pa.table({"a": [dt.date(2024, 1, 1)]})), ["a"], "t", known=parts)


def test_integers_beyond_exact_floats_are_ids_or_levels():
    big = (1 << 53) + 1
    source = open_data(
        pa.table({"a": [big, big + 2] * 40, "b": list(range(80)), "c": [1.0, 2.5] * 40}), kinds=("table",)
    )
    assert source.spec.parts["a"].vocabulary == (str(big), str(big + 2))
    assert "b" in source.left_out


def test_pandas_frames_keep_their_index_and_types(fitted):
    pandas = pytest.importorskip("pandas")
    run, table = fitted
    frame = table.to_pandas().set_index(pandas.Index([f"r{i}" for i in range(ROWS)]))
    full = run.impute(frame, samples=5)
    assert isinstance(full, pandas.DataFrame)
    assert full.index.equals(frame.index)
    changed = [name for name in frame if full[name].dtype != frame[name].dtype]
    assert changed == ["member"]  # objects because of its holes, and bool without them
    assert list(full["grade"].cat.categories) == list(frame["grade"].cat.categories)


def test_polars_frames_keep_their_types(fitted):
    polars = pytest.importorskip("polars")
    run, table = fitted
    frame = polars.from_arrow(table)
    full = run.impute(frame, samples=5)
    assert isinstance(full, polars.DataFrame)
    assert full.schema == frame.schema


def test_drawn_levels_keep_the_order_of_an_ordered_column(fitted):
    run, table = fitted
    kind = table.schema.field("grade").type
    drawn = cells_of(np.full((3, 1), 2.0), {"grade": run.recipe.spec.parts["grade"]})["grade"]
    assert drawn.type == kind
    assert drawn.dictionary.to_pylist() == ["low", "mid", "high"]
    assert drawn.to_pylist() == ["high"] * 3


def test_a_column_of_arrow_has_its_place_in_a_frame():
    frame = framed({"draw": np.arange(2), "a": pa.array([1, 2])}, pa.table({"a": [0]}))
    assert frame.column_names == ["draw", "a"]
