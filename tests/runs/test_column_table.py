"""The table of columns: what it shows of dates."""

import datetime as dt

import pyarrow as pa
import pytest

from narrows import data as nd
from narrows.runs.column_table import column_table


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (pa.timestamp("us", "Europe/Zurich"), "2024-01-01 01:30+01:00 to 2024-07-01 02:30+02:00"),
        (pa.timestamp("s", "+05:00"), "2024-01-01 00:30+00:00 to 2024-07-01 00:30+00:00"),
        (pa.timestamp("ms"), "2024-01-01 00:30 to 2024-07-01 00:30"),
        (pa.date32(), "2024-01-01 to 2024-07-01"),
    ],
)
def test_dates_are_shown_in_their_time_zone(kind, shown):
    times = [dt.datetime(2024, month, 1, 0, 30) for month in (1, 7)] * 20
    moments = pa.array([time.date() if kind == pa.date32() else time for time in times], kind)
    source = nd.open(pa.table({"seen": moments, "n": list(range(2)) * 20}), kinds=("table",))
    assert column_table(source)[0]["values"] == shown
