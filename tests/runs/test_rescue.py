"""A second run with a remedy of the audit: which remedy, what stays the same, and what is said of it."""

import pytest

from narrows.audit.checks.collapse import CODEBOOK_REMEDIES, POSTERIOR_REMEDIES
from narrows.audit.report.report import Check, Report
from narrows.core import Spec
from narrows.runs.recipe import Recipe
from narrows.runs.rescue import Rescue, proposed


def report(verdict, remedies=(), **figures):
    """An audit with a check that has remedies, and figures (value, spread)."""
    more = (Check(name, value, spread=spread) for name, (value, spread) in figures.items())
    checks = (Check("fine", 1.0, remedies=({"codes": 3},)), Check("collapse", "some", "", verdict, "Poor."))
    return Report("m", "d", {}, (*checks[:1], Check(**{**vars(checks[1]), "remedies": remedies}), *more))


@pytest.mark.parametrize(
    ("method", "arguments", "changed"),
    [
        ("vq-vae", {"codebook": "gradient"}, {"codebook": "ema:restart=0.03,start=kmeans"}),
        ("vq-vae", {}, {"codebook": "clustered"}),
        ("vq-vae", {"codebook": "ema:restart=0.03"}, {"codebook": "clustered"}),
        (
            "rq-vae",
            {"codebook": "ema:decay=0.9,restart=0"},
            {"codebook": "ema:decay=0.9,restart=0.03,start=kmeans"},
        ),
        ("vq-vae-2", {"codebook": "clustered:decay=0.9"}, {"codebook": "ema:restart=0.03,start=kmeans"}),
        ("simvq", {}, {"gradient": "rotation"}),
        ("simvq", {"gradient": "rotation"}, None),
        ("ibq", {}, None),
        ("custom", {}, None),
    ],
)
def test_the_first_remedy_that_the_method_has_and_the_run_had_not(method, arguments, changed):
    recipe = Recipe(method, arguments, Spec((1, 8, 8)), {}, {})
    found = proposed(report("warn", CODEBOOK_REMEDIES), recipe, 100)
    assert (found and found[1]) == changed
    assert proposed(report("ok", CODEBOOK_REMEDIES), recipe, 100) is None


@pytest.mark.parametrize(
    ("arguments", "steps", "changed"),
    [
        ({}, 300, {"beta": "linear:0:1:150"}),
        ({"beta": 4.0}, 2001, {"beta": "linear:0:4:1000"}),
        ({"beta": "0.5"}, 1, {"beta": "linear:0:0.5:1"}),
        ({"beta": 0.0}, 300, {"free_bits": 0.25}),
        ({"beta": "linear:0:1:50"}, 300, {"free_bits": 0.25}),
        ({"beta": "linear:0:1:50", "free_bits": 0.25}, 300, None),
    ],
)
def test_a_warm_up_takes_half_of_the_steps_and_ends_at_the_weight_of_the_run(arguments, steps, changed):
    found = proposed(report("bad", POSTERIOR_REMEDIES), Recipe("vae", arguments, Spec((5,)), {}, {}), steps)
    assert (found and found[1]) == changed


def test_remedies_are_kept_in_the_file_of_an_audit():
    kept = report("bad", CODEBOOK_REMEDIES)
    assert Report.from_json(kept.to_json()) == kept
    assert "remedies" not in report("bad").to_json()["checks"][1]


@pytest.mark.parametrize(
    ("after", "used", "said"),
    [
        ("ok", (0.6, 0.01), "It helped. One"),
        ("bad", (0.6, 0.01), "It helped, but not enough"),
        ("warn", (0.2, 0.01), "It helped, but not enough"),
        ("bad", (0.21, 0.01), "It did not help. One"),
        ("bad", (0.1, 0.01), "It did not help. One"),
    ],
)
def test_it_is_said_whether_it_helped(after, used, said):
    measured = {"capacity-used": (0.2, 0.01), "fvu": (0.3, 0.01)}
    first, second = report("bad", **measured), report(after, **{**measured, "capacity-used": used})
    tried = Rescue("collapse", {"codebook": "ema"}, first, second, None)
    assert f"collapse, with codebook=ema: {said}" in tried.says
    assert [row["check"] for row in tried.rows] == ["collapse", "capacity-used", "fvu"]
    worse = report(after, **{**measured, "capacity-used": used, "fvu": (0.4, 0.01)})
    assert "The error rose (fvu)." in Rescue("collapse", {"codebook": "ema"}, first, worse, None).says
