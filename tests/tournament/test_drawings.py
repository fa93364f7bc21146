"""The charts of the page: places of points, names beside them."""

import itertools
import math
import re

from narrows.tournament.drawings import Path, drawn_cost, drawn_steps
from narrows.tournament.verdict import Entry, decide


def texts(svg):
    """Labels beside points: place and text."""
    found = re.findall(r'<text class="tick" x="([\d.]+)" y="([\d.]+)" style="([^"]*)">([^<]*)<', svg)
    return [(float(x), float(y), text, "700" in style) for x, y, style, text in found]


def circles(svg):
    return [(float(x), float(y)) for x, y in re.findall(r'<circle [^>]*cx="([\d.]+)" cy="([\d.]+)"', svg)]


def test_costs_are_drawn_on_a_logarithmic_axis_with_all_names_apart():
    values = [(0.01, 0.9), (0.1, 0.8), (1.0, 0.7), (10.0, 0.70), (10.2, 0.699), (10.4, 0.698)]
    roles = ("baseline", "baseline", "random search", "tournament", "tournament", "tournament")
    entries = [
        Entry(f"name-{n}", "", role, (value,), (value, value + 0.02), cost)
        for n, ((cost, value), role) in enumerate(zip(values, roles, strict=True))
    ]
    found = drawn_cost("error", entries, decide(entries))
    places = circles(found.svg)
    assert len(places) == len(entries)
    gaps = [b[0] - a[0] for a, b in itertools.pairwise(places[:4])]
    assert max(gaps) - min(gaps) < 0.2  # each ten times the cost of the one before
    heights = [y for _, y in places]
    slope = (heights[1] - heights[0]) / (0.8 - 0.9)
    assert all(
        math.isclose(y, heights[0] + slope * (v - 0.9), abs_tol=0.2) for y, (_, v) in zip(heights, values)
    )
    labels = texts(found.svg)
    assert {text.split(",")[0] for *_, text, _ in labels} == {e.name for e in entries}
    assert [text for *_, text, bold in labels if bold] == [f"{decide(entries).winner.name}, chosen"]
    for a, b in itertools.combinations(labels, 2):
        across = a[0] < b[0] + 7 * len(b[2]) and b[0] < a[0] + 7 * len(a[2])
        assert not across or abs(a[1] - b[1]) >= 14
    for unit in ("0.01 s", "10 s", "time of one training", "error"):
        assert f">{unit}<" in found.svg


def test_scores_are_drawn_over_steps_and_the_last_ones_are_named():
    paths = [Path("a", (100, 300), (0.5, 0.4)), Path("", (100,), (0.6,))]
    found = drawn_steps("error", paths, [Path("search", (300,), (0.45,))])
    assert {text for *_, text, _ in texts(found.svg)} == {"a", "search"}
    assert len(circles(found.svg)) == 4
    assert ">100<" in found.svg
    assert ">300<" in found.svg
    assert drawn_steps("error", [Path("a", (100,), (0.5,))], []) is None
