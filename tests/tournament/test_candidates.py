"""The table of candidates."""

import inspect

import numpy as np
import pytest

import narrows.data as nd
from narrows.methods import index
from narrows.tournament.candidates import PREPROCESSING, ROWS, candidates
from narrows.tournament.goals import GOALS

DATA = {
    "table": np.where(
        np.arange(600).reshape(150, 4) % 11 == 0, np.nan, np.random.default_rng(0).normal(size=(150, 4))
    ),
    "vector": np.random.default_rng(0).normal(size=(150, 6)).astype(np.float32),
    "series": np.random.default_rng(0).normal(size=(150, 6, 2)).astype(np.float32),
    "image": np.random.default_rng(0).integers(0, 256, (150, 1, 8, 8)).astype(np.uint8),
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method}-{'-'.join(row.kinds)}")
def test_a_row_is_of_known_goals_and_options_and_trains_in_one_stage(row):
    known = set(inspect.signature(index.builder(row.method)).parameters)
    assert set(row.goals) <= set(GOALS)
    assert set(row.options) <= known
    assert all(set(GOALS[goal].kinds) & set(row.kinds) for goal in row.goals)
    for kind in row.kinds:
        source = nd.open(DATA[kind], kinds=("table" if kind == "table" else "array",))
        for pick in (0, -1):
            options = {name: values[pick] for name, values in row.options.items()} | {"latent": 2}
            model = index.builder(row.method)(source.spec, **options)
            assert len(model.stages()) == 1


@pytest.mark.parametrize("goal", GOALS)
def test_each_method_takes_part_with_its_defaults_before_any_draw(goal):
    for kind in GOALS[goal].kinds:
        rows = [row.method for row in ROWS if goal in row.goals and kind in row.kinds]
        found = candidates(goal, kind, 27, seed=3)
        assert len(rows) >= 3
        assert [one.method for one in found[: len(rows)]] == rows
        assert found == candidates(goal, kind, 27, seed=3)
        assert len({(c.method, repr((c.options, c.data, c.training))) for c in found}) == len(found)
        if len(found) > len(rows):
            assert found[len(rows) :] != candidates(goal, kind, 27, seed=4)[len(rows) :]
        assert all(set(one.data) == set(PREPROCESSING[kind]) for one in found)


def test_all_codes_have_the_width_that_is_given():
    assert {one.options["latent"] for one in candidates("reconstruct", "vector", 20, width=5)} == {5}
