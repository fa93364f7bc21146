"""Requested evaluations: which are run, in which order and time, and what the report says."""

import json
import time
from typing import ClassVar

import pytest
import torch
from audit_models import sparse_model

from narrows.audit import Report, audit
from narrows.audit.evaluations import EVALUATIONS, requests, running
from narrows.audit.evaluations.evaluation import Evaluation
from narrows.audit.report.finding import Check, Finding
from narrows.audit.report.html import page
from narrows.audit.report.report import beside, with_spread
from narrows.core.check import NarrowsError, RequestError, whole

X = torch.randn(120, 6, generator=torch.Generator().manual_seed(0))


class Norms(Evaluation):
    """The mean norm."""

    seconds: ClassVar[float] = 20

    def __init__(self, *, power: float = 1.0, label: str = "") -> None:
        self.power, self.label = power, label

    def __call__(self, view):
        drawn = float(torch.rand(()))
        return Finding(
            (Check("norms/mean", drawn + self.power, says=self.label, chance=0.5, spread=0.012, n=120),)
        )


class Quick(Evaluation):
    """A quick one."""

    seconds: ClassVar[float] = 2

    def __init__(self, *, k: int = 3) -> None:
        self.k = whole("k", k)

    def __call__(self, view):
        return Finding((Check("quick/k", float(self.k), says="k"),))


class Unsuited(Evaluation):
    """Needs what is not there."""

    seconds: ClassVar[float] = 1

    def lacks(self, view):
        return "The data have no labels."

    def __call__(self, view):
        raise AssertionError


class Failing(Evaluation):
    """Refuses."""

    seconds: ClassVar[float] = 30

    def __call__(self, view):
        raise NarrowsError("The probe did not converge.")


@pytest.fixture(autouse=True)
def table(monkeypatch):
    here = {cls.__name__.lower(): f"{__name__}:{cls.__name__}" for cls in (Norms, Quick, Unsuited, Failing)}
    monkeypatch.setattr(EVALUATIONS, "parts", here)


def names(report):
    return [check.name for check in report.checks]


def test_options_belong_to_the_name_before_them():
    found = {r.name: r.evaluation for r in requests.requested("norms:power=2,label=x, quick:k=7,unsuited")}
    assert list(found) == ["unsuited", "quick", "norms"]  # cheapest first
    assert (found["norms"].power, found["norms"].label, found["quick"].k) == (2.0, "x", 7)
    everything = {r.name: r.evaluation for r in requests.requested("all,quick:k=5")}
    assert list(everything) == ["unsuited", "quick", "norms", "failing"]
    assert everything["quick"].k == 5
    assert requests.requested(["quick", Norms(power=4)])[1].evaluation.power == 4
    assert requests.requested("quick,k=9")[0].evaluation.k == 9


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("quikc", "Did you mean `quick`"),
        ("quick:k=0", "`k`"),
        ("quick:depth=2", "no option `depth`"),
        ("quick:k=many", "whole number"),
        ("quick,quick", "once"),
        ("k=3", "a name"),
        ("", "all"),
        (" , ", "all"),
        ("all:k=3", "k=3"),
        ([3], "Evaluation"),
    ],
)
def test_wrong_requests_are_refused_before_anything_is_measured(wanted, said, monkeypatch):
    monkeypatch.setattr("narrows.audit.examination.examine", None)
    with pytest.raises(RequestError, match=said):
        audit(sparse_model(), X, evaluations=wanted)


@pytest.mark.parametrize(
    "budget", ["soon", "", "5 minutes", "-3", "0", 0, -1, float("nan"), "5m3", "1e3s", True]
)
def test_times_that_are_none_are_refused(budget):
    with pytest.raises(RequestError, match="budget"):
        audit(sparse_model(), X, evaluations="quick", budget=budget)


def test_a_budget_needs_evaluations():
    with pytest.raises(RequestError, match="evaluations"):
        audit(sparse_model(), X, budget="5m")


def test_times_are_read_with_and_without_units():
    texts = {"5m": 300, "90s": 90, "300": 300, "1h": 3600, "1m30s": 90, "0.5m": 30, 12: 12}
    assert {text: requests.read_budget(text) for text in texts} == texts


def test_evaluations_come_after_the_checks_and_say_what_is_not_measured():
    plain = audit(sparse_model(), X)
    report = audit(sparse_model(), X, evaluations="all")
    assert names(report) == [*names(plain), "unsuited", "quick/k", "norms/mean", "failing"]
    assert report["unsuited"].says == "Not measured: The data have no labels."
    assert report["failing"].says == "Not measured: The probe did not converge."
    assert report["failing"].value is None
    assert report.parameters["evaluations"] == ["unsuited", "quick", "norms", "failing"]
    assert "evaluations" not in plain.parameters


def test_a_budget_is_spent_on_the_cheapest_and_the_rest_is_named():
    report = audit(sparse_model(), X, evaluations="all", budget="30s")
    assert report["norms/mean"].value > 1
    left = report["evaluations/left-out"]
    assert (left.value, report.get("failing")) == (1.0, None)
    assert "`failing` (30 s)" in left.says
    assert "`norms`" not in left.says
    assert audit(sparse_model(), X, evaluations="all", budget=1e4).get("evaluations/left-out") is None


def test_a_budget_that_has_passed_leaves_out_the_rest(monkeypatch):
    clock = iter(range(0, 10_000, 40))
    monkeypatch.setattr(running.time, "monotonic", lambda: float(next(clock)))
    report = audit(sparse_model(), X, evaluations="quick,norms", budget="100s")
    assert report["quick/k"].value == 3
    assert "`norms` (20 s)" in report["evaluations/left-out"].says


def test_two_audits_are_equal_to_the_last_bit_but_for_their_seconds(monkeypatch):
    first = audit(sparse_model(), X, evaluations="norms,quick")
    clock, slow = time.monotonic, iter(range(10**6))
    monkeypatch.setattr(running.time, "monotonic", lambda: clock() + next(slow))
    second = audit(sparse_model(), X, evaluations="norms,quick")
    assert json.dumps(first.to_json()) == json.dumps(second.to_json())
    assert first.seconds != second.seconds
    assert {"examples", "splice", "norms", "quick"} <= set(first.seconds)
    document = first.document()
    assert {"seconds": document.pop("seconds"), **first.to_json()} == first.document()
    assert document == first.to_json()
    assert Report.from_json(first.document()).seconds == pytest.approx(first.seconds, abs=0.006)


def test_figures_are_shown_with_spread_chance_and_number(capsys):
    report = audit(sparse_model(), X, evaluations="norms:label=the norm")
    check = report["norms/mean"]
    assert beside(check) == "chance 0.5 · n 120"
    assert with_spread(check) == f"{check.value:.3f} ± 0.012"
    report.show()
    text = " ".join(capsys.readouterr().out.split())
    assert "± 0.012" in text
    assert "chance 0.5 · n 120" in text
    html = page(report)
    assert f"{check.value:.3f} ± 0.012" in html
    assert "chance 0.5 · n 120" in html


def test_audits_of_earlier_versions_are_read():
    old = {
        "method": "m",
        "data": "d",
        "parameters": {"examples": 9, "seed": 0},
        "checks": [{"name": "fvu", "value": 0.1, "unit": "", "verdict": "ok", "says": "."}],
    }
    report = Report.from_json(old)
    assert report["fvu"].chance is None
    assert "0.1" in page(report)
    assert report.to_json() == old
