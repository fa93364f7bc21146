"""What the columns of a mixed table are taken for, and how another table is read like the first."""

import numpy as np
import pytest

from narrows.core.check import RequestError
from narrows.data.readers.mixed import mixed


def texts(*values):
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


TABLE = {
    "age": np.array([39.0, np.nan, 41.5]),
    "job": texts("nurse", "", "clerk"),
    "member": np.array([1.0, 0.0, np.nan]),
    "zip": np.array([7.0, 7.0, 30.0]),
}


def test_numbers_two_values_and_categories():
    x, kinds = mixed(TABLE, list(TABLE), "people", categories=["zip"])
    assert [k.values for k in kinds.values()] == ["real", "categories", "binary", "categories"]
    assert kinds["job"].vocabulary == ("clerk", "nurse")
    assert kinds["zip"].vocabulary == ("30", "7")
    wanted = np.array([[39.0, 1, 1, 1], [np.nan, np.nan, 0, 1], [41.5, 0, np.nan, 0]])
    assert np.array_equal(x, wanted, equal_nan=True)


def test_another_table_is_read_like_the_first():
    _, kinds = mixed(TABLE, list(TABLE), "people", categories=["zip"])
    other = {
        "zip": np.array([30.0, 99.0]),
        "member": np.array([0.5, 1.0]),
        "job": texts("pilot", "nurse"),
        "age": np.array([1.0, np.nan]),
        "more": np.array([1.0, 2.0]),
    }
    x, again = mixed(other, list(kinds), "others", known=kinds)
    assert again == kinds
    wanted = np.array([[1.0, np.nan, np.nan, 0], [np.nan, 1, 1, np.nan]])  # what is unknown is missing
    assert np.array_equal(x, wanted, equal_nan=True)


def test_marks_of_missing_cells_and_the_numbers_around_them():
    table = {"a": texts("1", "?", "3"), "b": np.array([1.0, -999.0, 2.0]), "c": texts("x", "?", "y")}
    x, kinds = mixed(table, ["a", "b", "c"], "t", missing=["?", "-999"])
    assert [k.values for k in kinds.values()] == ["real", "real", "categories"]
    assert np.array_equal(x, [[1, 1, 0], [np.nan] * 3, [3, 2, 1]], equal_nan=True)


def test_an_empty_column_of_categories_is_all_missing_when_read_again():
    _, kinds = mixed(TABLE, ["job"], "people")
    x, _ = mixed({"job": np.array([np.nan, np.nan])}, ["job"], "empty", known=kinds)
    assert np.isnan(x).all()


@pytest.mark.parametrize(
    ("table", "columns", "options", "sentence"),
    [
        ({"a": np.array([np.nan])}, ["a"], {}, "are missing. Leave it out"),
        ({"a": texts("", "")}, ["a"], {}, "are missing. Leave it out"),
        ({"a": texts(*map(str, range(1001)))}, ["a"], {}, "1001 different texts"),
        ({"a": np.array([1.0])}, ["b"], {}, "no column `b`.*Did you mean `a`|no column `b`"),
        ({"a": np.array([np.inf])}, ["a"], {}, "infinite in row 0"),
        ({"a": np.array([1.0])}, ["a"], {"categories": ["c"]}, "categories"),
    ],
)
def test_what_no_model_can_use_is_refused(table, columns, options, sentence):
    with pytest.raises(RequestError, match=sentence):
        mixed(table, columns, "t", **options)


def test_text_where_numbers_were_is_named():
    _, kinds = mixed({"a": np.array([1.0, 2.0])}, ["a"], "t")
    with pytest.raises(RequestError, match="has the cell 'many'"):
        mixed({"a": texts("1", "many")}, ["a"], "t", known=kinds)
