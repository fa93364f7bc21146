"""Every evaluation states its equation, chance level, cost, and when it misleads, and can be spelled."""

import importlib.util
import inspect
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from audit_models import plain_model, sparse_model
from text_models import harvest

from narrows.audit import audit
from narrows.audit.evaluations import EVALUATIONS
from narrows.audit.evaluations.evaluation import Evaluation
from narrows.audit.evidence import splicing
from narrows.cli.evaluations import listing
from narrows.core.texts import readable

DOCS = Path(__file__).parents[2] / "docs"
NAMES = list(EVALUATIONS.parts)


@pytest.fixture(scope="module")
def docs():
    spec = importlib.util.spec_from_file_location("docs_evaluations", DOCS / "evaluations.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_its_docstring_has_all_parts(docs, name):
    parts = docs.parts_of(name)
    assert parts["summary"].endswith(".")
    assert ".. math::" in parts["definition"], "an equation"
    for part in docs.PARTS:
        assert len(parts.get(part, "")) > 10, f"a paragraph that begins with `{part}:`"


@pytest.mark.parametrize("name", NAMES)
def test_its_options_can_be_typed_and_are_described(name):
    kind = EVALUATIONS.constructor(name)
    assert issubclass(kind, Evaluation)
    assert kind.seconds > 0
    parameters = inspect.signature(kind).parameters.values()
    assert all(p.default is not p.empty for p in parameters)
    options = EVALUATIONS.options(name)
    assert set(options) == {p.name for p in parameters}
    assert all(option.description and readable(option.hint) for option in options.values())


def test_the_page_and_the_help_list_all(docs):
    page, help = docs.evaluations(), listing()
    for name in NAMES:
        assert f"### {name}\n" in page
        assert f"| [`{name}`](#{name}) |" in page
        assert f"{name}" in help
        assert f"({EVALUATIONS.constructor(name).seconds:g} s)" in help
    assert "<!-- evaluations -->" in (DOCS / "figures.md").read_text()


def test_none_fails_on_a_model_that_it_does_not_apply_to():
    report = audit(plain_model(), torch.randn(60, 6), evaluations="all")
    for name in NAMES:
        found = [c for c in report.checks if c.name == name or c.name.startswith(f"{name}/")]
        assert found, name
        assert all(c.value is not None or c.says.startswith("Not measured: ") for c in found)


def test_those_of_activations_are_equal_twice_to_the_last_bit(monkeypatch):
    lm, data = harvest()
    language = SimpleNamespace(module=lm, vocabulary=17, device=torch.device("cpu"))
    monkeypatch.setattr(splicing, "language_model", lambda *told: language)
    model = sparse_model(latents=12, k=2)
    wanted = "splice,dark-matter:tokens=64,mdl:rows=64"
    first = audit(model, data, evaluations=wanted).to_json()
    torch.manual_seed(99)
    assert json.dumps(first) == json.dumps(audit(model, data, evaluations=wanted).to_json())
    assert any(c["name"] == "splice/kl/2-8" and c["value"] is not None for c in first["checks"])
