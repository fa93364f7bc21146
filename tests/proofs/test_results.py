"""The committed results: of the proof as it stands, judged by its rule, nothing edited by hand."""

import json
from pathlib import Path

import pytest

from narrows.methods.index import METHODS
from narrows.methods.techniques import TECHNIQUES
from narrows.proofs.engine import load
from narrows.proofs.verdict import worst

RESULTS = Path(__file__).parents[2] / "proofs" / "results"
PROVED = [*METHODS, *(name for name, row in TECHNIQUES.items() if not row.proved_by)]
FILES = sorted(p for p in RESULTS.glob("*.json") if not p.name.startswith("."))


@pytest.mark.parametrize("name", PROVED)
def test_every_method_has_a_committed_result(name):
    assert (RESULTS / f"{name}.json").is_file(), f"narrows prove {name}"


@pytest.mark.parametrize("path", [p for p in FILES if p.stem in PROVED], ids=lambda p: p.stem)
def test_a_result_is_of_the_proof_as_it_stands(path):
    found, proof = json.loads(path.read_text()), load(path.stem)
    assert found["scale"] == "default"
    assert found["seeds"] == list(range(proof.seeds) if isinstance(proof.seeds, int) else proof.seeds)
    assert found["budget"] == dict(proof.scales["default"])
    assert found["environment"]["command"] == f"narrows prove {path.stem}"
    assert [c["formula"] for c in found["claims"]] == [c.formula for c in proof.claims]
    assert [c["says"] for c in found["claims"]] == [c.says for c in proof.claims]
    assert [c["post_hoc"] for c in found["claims"]] == [c.post_hoc for c in proof.claims]


@pytest.mark.parametrize("path", [p for p in FILES if p.stem in PROVED], ids=lambda p: p.stem)
def test_the_proof_names_what_its_result_refutes(path):
    claims = json.loads(path.read_text())["claims"]
    refuted = {claim["says"] for claim in claims if claim["verdict"] == "refuted here"}
    assert refuted <= {claim.says for claim in load(path.stem).claims if claim.refuted}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_verdict_follows_from_the_numbers(path):
    found = json.loads(path.read_text())
    proof = load(found["name"])
    numbers = {name: one["seeds"] for name, one in found["measured"].items()}
    judged = [claim.judge(numbers) for claim in proof.claims]
    assert [c["verdict"] for c in found["claims"]] == [j.verdict for j in judged]
    assert found["verdict"] == worst([j.verdict for j in judged])
    for claim, judgement in zip(found["claims"], judged, strict=True):
        assert claim["slack"]["seeds"] == pytest.approx(list(judgement.slack))


@pytest.mark.parametrize("path", [p for p in FILES if p.stem in PROVED], ids=lambda p: p.stem)
def test_the_notes_are_those_of_the_proof(path):
    """What was looked at, and what was changed since, stands in the result as in the code."""
    found, proof = json.loads(path.read_text()), load(path.stem)
    assert found["notes"] == proof.notes
