"""The page on figures has a row for each figure that the audit can print, with chance level, cost and what misleads."""

import ast
import re
import sys
from pathlib import Path

import pytest
import torch
from audit_models import gaussian_model, plain_model, sparse_model

from narrows.audit import audit

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "narrows"
FILES = [
    *(SOURCE / "audit" / "checks").glob("*.py"),
    *(SOURCE / "audit" / "evaluations").glob("*.py"),
    SOURCE / "runs" / "cost.py",
]
FREE = "[A-Z]+"
"""A part of a name that is different for each model: ``cost/NAME``, ``tpp/nN``."""


@pytest.fixture(scope="module")
def page():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import evaluations
    finally:
        sys.path.pop(0)
    return (ROOT / "docs" / "figures.md").read_text() + evaluations.evaluations()


def pattern(name):
    return re.compile(re.sub(FREE, ".+", re.escape(name).replace(r"\-", "-")))


def documented(page):
    return {name: pattern(name) for name in re.findall(r"`([a-z][\w/.-]*)`", page)}


def written():
    """The names in calls of `Check` and `not_measured`; what is computed in them is ``X``."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            if not called or node.func.id not in ("Check", "not_measured") or not node.args:
                continue
            name = node.args[0]
            if isinstance(name, ast.Constant):
                yield path.name, name.value
            elif isinstance(name, ast.JoinedStr):
                yield path.name, "".join(p.value if isinstance(p, ast.Constant) else "X" for p in name.values)


def test_every_name_in_the_source_is_on_the_page(page):
    known = documented(page)
    names = list(written())
    assert len(names) > 60
    missing = [
        f"{file}: {name}"
        for file, name in names
        if not any(rule.fullmatch(name) for rule in known.values())
        and not any(re.fullmatch(name.replace("X", ".+"), other) for other in known)
    ]
    assert missing == []


@pytest.mark.parametrize("make", [gaussian_model, plain_model, sparse_model])
def test_every_name_in_a_report_is_on_the_page(page, make):
    x = torch.randn(120, 6, generator=torch.Generator().manual_seed(0))
    history = [{"stage": "autoencoder", "step": step, "autoencoder/loss": 1.0} for step in (1, 2)]
    report = audit(make(), x, history=history, evaluations="all", train=x)
    known = documented(page)
    names = {check.name for check in report.checks}
    assert len(names) > 10
    assert {name for name in names if not any(rule.fullmatch(name) for rule in known.values())} == set()


def test_every_section_of_figures_states_chance_cost_and_what_misleads(page):
    sections = [s for s in page.split("\n## ")[1:] if "| check |" in s]
    assert len(sections) > 10
    for section in sections:
        title = section.splitlines()[0]
        for word in ("chance", "cost", "misleads when", "equation"):
            assert word in section.lower(), f"{title}: {word}"


def test_every_row_says_when_the_figure_misleads(page):
    for table in re.findall(r"(?m)^\| check \|.*\n(?:\|.*\n)+", page):
        for row in table.splitlines()[2:]:
            name, equation, *_, misleads = (cell.strip() for cell in row.strip("|").split("|"))
            if not equation.startswith("stands for") and not equation.startswith("that chance level"):
                assert len(misleads) > 5, name
