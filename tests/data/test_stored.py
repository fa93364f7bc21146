"""Rows as runs: `Index` against plain lists of (part, row)."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from narrows.activations.rows import ActivationRows, Index
from narrows.core.check import RequestError
from narrows.core.tensorfile import read_table, write_tensors

RUNS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 5)), max_size=8)


def index_of(runs):
    return Index(*(np.array([run[i] for run in runs], np.int64) for i in range(3)))


def pairs(index):
    """Every row as (part, row)."""
    return [(part, row) for part, first, count in index for row in range(first, first + count)]


@given(RUNS, st.integers(-3, 30), st.integers(-3, 30))
def test_a_cut_is_a_slice_of_the_rows(runs, start, stop):
    index = index_of(runs)
    want = pairs(index)
    assert len(index) == len(want)
    assert pairs(index.span(start, stop)) == want[max(0, start) : max(0, stop)]
    assert pairs(index.select(slice(start, stop))) == want[start:stop]
    assert pairs(index.select(slice(None, None, 3))) == want[::3]


@given(RUNS, st.data())
def test_any_rows_in_any_order(runs, data):
    index = index_of(runs)
    want = pairs(index)
    rows = data.draw(st.lists(st.integers(0, max(0, len(want) - 1)), max_size=20 if want else 0))
    taken = index.take(np.array(rows, np.int64))
    assert pairs(taken) == [want[row] for row in rows]
    part, row = index.locate(np.array(rows, np.int64))
    assert list(zip(part.tolist(), row.tolist(), strict=True)) == [want[r] for r in rows]
    kept = np.isin(np.arange(len(want)), rows)
    assert pairs(index.select(kept)) == [pair for pair, keep in zip(want, kept, strict=True) if keep]


def test_neighbours_are_one_run_and_rows_outside_are_refused():
    index = Index([0, 1], [5, 0], [4, 4])
    assert list(index.take(np.array([0, 1, 2, 4, 5]))) == [(0, 5, 3), (1, 0, 2)]
    for rows in ([8], [-1]):
        with pytest.raises(RequestError, match=r"row numbers from 0 to 7"):
            index.take(np.array(rows))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int32])
@pytest.mark.parametrize("stacked", [False, True])
def test_rows_are_read_as_they_were_written(tmp_path, dtype, stacked):
    parts = [{n: (torch.randn(7, 3) * 50).to(dtype) for n in "ab"} for _ in range(2)]
    tables = []
    for number, part in enumerate(parts):
        write_tensors(tmp_path / f"{number}.safetensors", part, "")
        tables.append(read_table(tmp_path / f"{number}.safetensors"))
    layers = [[table[n] for table in tables] for n in ("ab" if stacked else "a")]
    stored = ActivationRows(Index([1, 0], [2, 0], [5, 7]), layers, stacked)
    flat = {n: torch.cat([parts[1][n][2:], parts[0][n]]) for n in "ab"}
    want = torch.stack([flat["a"], flat["b"]], 1) if stacked else flat["a"]
    want = want.to(torch.float32 if dtype.is_floating_point else torch.int64)
    for rows in (
        slice(0, 12),
        slice(3, 9),
        torch.tensor([11, 0, 5, 5, 4, 6]),
        torch.tensor([], dtype=torch.long),
    ):
        got = stored.read(rows)
        assert got.dtype == want.dtype
        assert torch.equal(got, want[rows])
        assert torch.equal(stored[rows].read(slice(None)), want[rows])
