"""What the columns of a mixed table are taken for, and how another table is read like the first."""

import numpy as np
import pytest

import narrows.data as nd
from narrows.core.check import RequestError
from narrows.data.readers.cells import Cells
from narrows.data.readers.mixed import mixed
from narrows.data.schema.declared import declared_types

TABLE = {
    "age": ["39.0", "", "41.5"],
    "job": ["nurse", "", "clerk"],
    "member": ["1", "0", ""],
    "zip": ["7", "7", "30"],
}


def read(table, columns=None, name="people", missing=(), types="", **options):
    columns = list(columns or table)
    declared = declared_types(types, table)
    return mixed(Cells(table, missing), columns, name, types=declared, **{"keep": True, **options})


def kinds(found):
    return [part.values for part in found.parts.values()]


def test_numbers_two_values_and_categories():
    found = read(TABLE, types="zip=categorical")
    assert kinds(found) == ["real", "categories", "binary", "categories"]
    assert found.parts["job"].vocabulary == ("clerk", "nurse")
    assert found.parts["zip"].vocabulary == ("30", "7")
    wanted = np.array([[39.0, 1, 1, 1], [np.nan, np.nan, 0, 1], [41.5, 0, np.nan, 0]])
    assert np.array_equal(found.x, wanted, equal_nan=True)


def test_another_table_is_read_like_the_first():
    parts = read(TABLE, types="zip=categorical").parts
    other = {
        "zip": ["30", "99"],
        "member": ["0.5", "1"],
        "job": ["pilot", "nurse"],
        "age": ["1", ""],
        "more": ["1", "2"],
    }
    found = read(other, list(parts), "others", known=parts)
    assert found.parts == parts
    wanted = np.array([[1.0, np.nan, np.nan, 0], [np.nan, 1, 1, np.nan]])  # what is unknown is missing
    assert np.array_equal(found.x, wanted, equal_nan=True)


def test_marks_of_missing_cells_and_the_numbers_around_them():
    table = {"a": ["1", "?", "3"], "b": ["1", "-999", "2"], "c": ["x", "?", "y"]}
    found = read(table, missing=["?", "-999"])
    assert kinds(found) == ["integer", "integer", "categories"]
    assert np.array_equal(found.x, [[1, 1, 0], [np.nan] * 3, [3, 2, 1]], equal_nan=True)


def test_an_empty_column_of_categories_is_all_missing_when_read_again():
    parts = read(TABLE, ["job"]).parts
    assert np.isnan(read({"job": np.array([np.nan, np.nan])}, known=parts).x).all()


@pytest.mark.parametrize(
    ("table", "options", "sentence"),
    [
        ({"a": ["", ""]}, {}, "are missing. Leave it out"),
        (
            {"a": [str(i) + "x" for i in range(1001)]},
            {},
            "1001 different texts.*a=id.*a=categorical.*columns",
        ),
        ({"a": ["1"]}, {"columns": ["b"]}, "no column `b`"),
        ({"a": ["1", "inf"]}, {}, "is inf in row 1"),
        ({"a": ["1"]}, {"types": "c=real"}, "types"),
        ({"a": ["1"]}, {"types": "a=number"}, "categorical"),
        ({"a": ["1", "1.5"]}, {"types": "a=count"}, "whole numbers from 0, but it has 1.5 in row 1"),
        ({"a": ["1", "-2"]}, {"types": "a=count"}, "but it has -2 in row 1"),
        ({"a": ["1", "-2"]}, {"types": "a=positive"}, "numbers from 0, but it has -2 in row 1"),
        ({"a": ["1", "x"]}, {"types": "a=real"}, "'x' in row 1 is not a number"),
        ({"a": ["2024-01-31", "2024-02-30"]}, {"types": "a=datetime"}, "'2024-02-30' in row 1 is not a date"),
        ({"a": ["a", "b", "c"]}, {"types": "a=binary"}, "it has 3 values: a, b, c"),
        ({"a": ["b", "a"]}, {"types": "a=ordinal"}, "name its levels.*a=ordinal:a<b"),
        ({"a": ["b", "x"]}, {"types": "a=ordinal:a<b"}, "'x' in row 1, which is none of its levels: a < b"),
        ({"a": ["b", "b"]}, {"types": "a=ordinal:a<b<c"}, "3 levels, more than its 2 rows"),
        ({"a": ["b", "b"]}, {"types": "a=ordinal:b"}, "two or more different levels"),
    ],
)
def test_what_no_model_can_use_is_refused(table, options, sentence):
    with pytest.raises(RequestError, match=sentence):
        read(table, **options)


def test_text_among_numbers_and_dates_is_named_with_its_row():
    numbers = [str(i) for i in range(40)] + ["many"]
    with pytest.raises(RequestError, match="has numbers, but 'many' in row 40"):
        read({"a": numbers}, keep=False)
    days = [f"2024-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(40)] + ["2024-02-30"]
    with pytest.raises(RequestError, match="has dates, but '2024-02-30' in row 40"):
        read({"a": days}, keep=False)


def test_text_where_numbers_were_is_named():
    parts = read({"a": ["1", "2"]}).parts
    with pytest.raises(
        RequestError, match=r"was integer in the training data, but has the cell 'many' in row 1"
    ):
        read({"a": ["1", "many"]}, known=parts)


def test_ids_constants_and_empty_columns_are_left_out_and_said():
    n = 120
    table = {
        "key": [str(i * i) for i in range(n)],
        "name": [f"person {i}" for i in range(n)],
        "nothing": [""] * n,
        "same": ["3"] * n,
        "notes": [f"note {i // 2 + 60 * (i % 2)}" for i in range(n)],
        "age": [str(i % 7) for i in range(n)],
    }
    table["notes"][0] = table["notes"][1]
    found = read(table, keep=False)
    assert list(found.parts) == ["age"]
    assert {name: why.partition(":")[0] for name, why in found.left_out.items()} == {
        "key": "id",
        "name": "id",
        "nothing": "none",
        "same": "constant",
        "notes": "text",
    }


def test_codes_keep_their_zeros_and_large_integers_are_exact_or_ids():
    big = 1 << 53
    table = {
        "zip": ["01234", "98765", "01234"],
        "key": [str(big + 1), str(big), str(big)],
        "number": ["5", "007", "7"],
    }
    found = read(table)
    assert found.parts["zip"].vocabulary == ("01234", "98765")
    assert found.parts["key"].vocabulary == (str(big), str(big + 1))
    assert found.parts["number"].vocabulary == ("007", "5", "7")
    ids = {"key": [str(big + i) for i in range(30)], "b": ["1", "2"] * 15}
    assert "id: a different whole number" in read(ids, keep=False).left_out["key"]


def test_rare_levels_of_large_tables_are_joined_and_unseen_ones_with_them():
    rows = 1200
    city = ["Rome"] * 700 + ["Oslo"] * 488 + ["Bern"] * 9 + ["Nice"] * 3
    found = read({"city": city, "sex": ["f", "m"] * (rows // 2)})
    assert found.parts["city"].vocabulary == ("Oslo", "Rome", "other")
    assert np.bincount(found.x[:, 0].astype(int)).tolist() == [488, 700, 12]
    new = read({"city": ["Paris", "Rome"], "sex": ["d", "f"]}, known=found.parts)
    assert np.array_equal(new.x, [[2, np.nan], [1, 0]], equal_nan=True)  # unseen: other where there is one


def test_the_resolution_is_the_smallest_gap_but_no_finer_than_the_spread_allows():
    values = [0.0, 0.25, 1.0, 3.0]
    column = read({"a": [str(v) for v in values]}).parts["a"].column
    assert (column.resolution, column.low, column.high) == (0.25, 0.0, 3.0)
    values = np.array([0.0, 1e-9, 1.0, 3.0])
    column = read({"a": [repr(float(v)) for v in values]}).parts["a"].column
    assert column.resolution == pytest.approx(1e-4 * values.std())


@pytest.mark.parametrize(
    ("texts", "form", "seconds"),
    [
        (["1970-01-02", "1970-01-03"], "1970-01-02", 86400),
        (["1970-01-02T01:00:00+01:00", "1970-01-03T00:00:00+00:00"], "1970-01-02T01:00:00+01:00", 86400),
        (["02.01.1970", "31.01.1970"], "%d.%m.%Y", 86400),
        (["02/01/1970 06:30", "31/01/1970 00:00"], "%d/%m/%Y %H:%M", 86400 + 6.5 * 3600),
        (["01/02/1970", "01/31/1970"], "%m/%d/%Y", 86400),
    ],
)
def test_dates_are_seconds_in_the_format_that_all_rows_have(texts, form, seconds):
    found = read({"day": texts})
    assert kinds(found) == ["datetime"]
    assert found.parts["day"].column.form == form
    assert found.x[0, 0] == seconds


def test_a_changed_type_is_named_as_it_was_and_as_it_is():
    parts = read({"day": ["2024-05-17", "2024-05-18"]}).parts
    with pytest.raises(RequestError, match="was datetime in the training data, and is numbers now"):
        read({"day": ["5", "6"]}, known=parts)
    with pytest.raises(RequestError, match="was integer in the training data, and is dates now"):
        read({"a": ["2024-05-17"]}, known=read({"a": ["5", "6"]}).parts)
    counts = read({"a": ["5", "6"]}, types="a=count").parts
    with pytest.raises(RequestError, match=r"is 1.5 in row 0, which a column that was count"):
        read({"a": ["1.5"]}, known=counts)
    constant = read({"day": ["2024-05-17 06:30"] * 4, "n": ["1", "2", "3", "2"]}, keep=False)
    assert constant.left_out["day"] == "constant: one value: 2024-05-17 06:30"
    with pytest.raises(RequestError, match=r"was integer in the training data, but has 1.5 in row 1\. Round"):
        read({"a": ["5", "1.5"]}, known=read({"a": ["5", "6"]}).parts)
    floats = read(
        {"a": np.array([5.0, 6.0, np.nan])}
    ).parts  # by chance whole numbers, as in a small part of an array
    assert read({"a": np.array([1.5, np.nan])}, known=floats).x[0, 0] == 1.5


def test_integers_beyond_any_float_are_texts(tmp_path):
    long = ["9" * 390 + str(i % 3) for i in range(40)]
    (tmp_path / "long.csv").write_text(
        "a,b\n" + "".join(f"{text},{i % 5}.5\n" for i, text in enumerate(long))
    )
    part = nd.open(tmp_path / "long.csv", kinds=("table",)).spec.parts["a"]
    assert part.vocabulary == tuple(sorted(set(long)))
