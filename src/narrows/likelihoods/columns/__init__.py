"""Likelihoods of the columns of a table: a `Head` per type of column.

`NUMBERS` is the table of ``numbers="logistic:components=5"``, `POSITIVES` that of ``positives="log-normal"``, `COUNTS`
that of ``counts="poisson"``; the other types have one head each. A type of `Spec.values` has its row in `heads_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from narrows.core.check import refuse
from narrows.core.spelling import Table

if TYPE_CHECKING:
    from narrows.core import Spec
    from narrows.likelihoods.columns.head import Head

__all__ = ["COUNTS", "NUMBERS", "POSITIVES", "heads_of"]

_HERE = __name__

NUMBERS: Table[Head] = Table(
    "numbers",
    f"{_HERE}.head:Head",
    {
        "logistic": f"{_HERE}.logistic:Logistic",
        "gaussian": f"{_HERE}.density:GaussianDensity",
        "student-t": f"{_HERE}.density:StudentTDensity",
        "normal": f"{_HERE}.density:NormalDensity",
        "modes": f"{_HERE}.modes:ModeHead",
    },
    supplied=("columns",),
)
"""p(x | z) of columns of numbers, by name."""

POSITIVES: Table[Head] = Table(
    "positives",
    f"{_HERE}.head:Head",
    {
        "log-logistic": f"{_HERE}.logistic:LogLogistic",
        "log-normal": f"{_HERE}.density:LogNormalDensity",
        "modes": f"{_HERE}.modes:ModeHead",
    },
    supplied=("columns",),
)
"""p(x | z) of columns of numbers from 0 with a long tail, by name."""

COUNTS: Table[Head] = Table(
    "counts",
    f"{_HERE}.head:Head",
    {
        "negative-binomial": f"{_HERE}.count:negative_binomial",
        "poisson": f"{_HERE}.count:poisson",
        "zinb": f"{_HERE}.count:zero_inflated",
        "modes": f"{_HERE}.modes:ModeHead",
    },
    supplied=("columns",),
)
"""p(x | z) of columns of counts, by name."""


def heads_of(
    columns: Sequence[Spec],
    numbers: str | Head = "logistic",
    counts: str | Head = "negative-binomial",
    positives: str | Head = "log-logistic",
) -> list[tuple[Head, tuple[int, ...]]]:
    """The heads of a table's columns, each with the indices of its columns.

    Args:
        columns: the specs of all columns.
        numbers: p(x | z) of real numbers, integers and dates.
        counts: p(x | z) of counts.
        positives: p(x | z) of numbers from 0 with a long tail.

    Raises:
        RequestError: a column of a type that has no head.

    Example:
        >>> [(type(head).__name__, places) for head, places in heads_of([Spec((), "binary"), Spec(()), Spec(())])]
        [('Logistic', (1, 2)), ('BernoulliHead', (0,))]
    """
    from narrows.likelihoods.columns.levels import BernoulliHead, CategoricalHead, OrdinalHead

    kinds: Mapping[tuple[str, ...], Callable[[Sequence[Spec]], Head]] = {
        ("real", "unit", "integer", "datetime"): lambda some: NUMBERS.make(numbers, columns=some),
        ("positive",): lambda some: POSITIVES.make(positives, columns=some),
        ("counts",): lambda some: COUNTS.make(counts, columns=some),
        ("binary",): BernoulliHead,
        ("categories",): CategoricalHead,
        ("ordinal",): OrdinalHead,
    }
    known = {kind for kinds_of_head in kinds for kind in kinds_of_head}
    for column in columns:
        if column.values not in known:
            raise refuse("spec", column.values, "columns of numbers, of two values, or of levels")
    found = []
    for names, make in kinds.items():
        places = [index for index, column in enumerate(columns) if column.values in names]
        if any(columns[index].column is not None for index in places):
            places.sort(key=partial(_levels, columns))  # equal numbers of levels are computed together
        if places:
            found.append((make([columns[index] for index in places]), tuple(places)))
    return found


def _levels(columns: Sequence[Spec], index: int) -> int:
    return columns[index].classes
