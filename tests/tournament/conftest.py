"""Small data, and the exam on them, for the tests of tournaments."""

import numpy as np
import pytest

import narrows.data as nd
from narrows.tournament.exam import Exam


@pytest.fixture
def people():
    """Rows of a mixed table with correlated columns: a number, its double, and a level that follows it."""
    draws = np.random.default_rng(0)
    x = draws.normal(10.0, 3.0, 400)
    y = 2 * x + draws.normal(0, 0.5, 400)
    level = np.where(x + draws.normal(0, 1, 400) > 10, "high", "low")
    return x, y, level


@pytest.fixture
def table(tmp_path, people):
    """The same as a file."""
    path = tmp_path / "people.csv"
    lines = [f"{a:.2f},{b:.2f},{c}" for a, b, c in zip(*people, strict=True)]
    path.write_text("\n".join(["x,w,level", *lines]) + "\n")
    return path


@pytest.fixture
def exam_of():
    """From data and options of `open` to an exam on the test split."""

    def make(data, kinds=("table",), width=2, **options):
        source = nd.open(data, kinds=kinds, **options)
        return Exam(source, source.train, source.test, seed=0, width=width)

    return make
