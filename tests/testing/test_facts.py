"""The model of facts knows them, holds them where the name stands, is kept, and can be harvested."""

from collections import Counter

import pytest
import torch

import narrows as nr
import narrows.data
from narrows.activations.capture import capture
from narrows.activations.hook_points import resolve
from narrows.activations.models import load
from narrows.audit.evaluations import EVALUATIONS
from narrows.audit.evidence.questions import Questions
from narrows.audit.evidence.view import examine
from narrows.core import evaluation_mode
from narrows.core.check import RequestError
from narrows.data.facts import FILE, read_facts
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.testing.facts import TEXT, facts_lm, invented_facts, sentences

SIZES = {
    "entities": 20,
    "values": 3,
    "width": 32,
    "context": 16,
    "steps": 400,
    "batch_size": 24,
    "lr": 1e-2,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NARROWS_CACHE", str(tmp_path_factory.mktemp("cache")))
        made = facts_lm(**SIZES)
        assert facts_lm(**SIZES) == made
        yield made


@pytest.fixture(scope="module")
def source(folder, tmp_path_factory):
    acts = tmp_path_factory.mktemp("acts") / "acts"
    nr.harvest(folder, folder / TEXT, "resid.0", acts, context=16, tokens=6000, progress=False)
    return narrows.data.open(acts)


def test_values_are_equally_frequent_and_differ_between_attributes():
    facts = invented_facts(60, values=6, seed=2)
    assert len(facts.entities) == 60
    kinds = [Counter(one.values) for one in facts.attributes]
    assert all(set(counts.values()) == {10} for counts in kinds)
    words = {*facts.entities, *(value for counts in kinds for value in counts)}
    assert len(words) == 60 + 4 * 6
    assert invented_facts(60, values=6, seed=3) != facts


def test_sentences_tell_all_facts_of_an_entity():
    facts = invented_facts(5, values=2)
    drawn = sentences(facts)
    leads = len(facts.attributes[0].prompts)
    seen = [next(drawn) for _ in range(5 * leads)]
    begins = Counter()
    for text in seen:
        (entity,) = (e for e, name in enumerate(facts.entities) if name in text.split())
        for one in facts.attributes:
            words = text.split()
            assert words[words.index(one.name) + 1] == one.values[entity]
        found = [
            (a, p) for a in range(4) for p in range(leads) if text.startswith(facts.text(a, entity, p) + " ")
        ]
        ((_, lead),) = found
        begins[entity, lead] += 1
    assert set(begins.values()) == {1}


def test_it_knows_its_facts_where_the_name_stands(folder, source):
    facts, module = read_facts(folder / FILE), load(folder, "cpu").module
    assert facts == invented_facts(20, 3)
    questions = Questions.of(source.test, facts)
    assert float(questions.known.double().mean()) > 0.9
    # the first block has no attention, so that its output depends on the token alone
    (point,) = resolve(module, "resid.0")
    ids = torch.tensor([[5, 9, 7], [6, 3, 7]])
    rows = capture(module, ids, [point])["resid.0"]
    assert torch.allclose(rows[0, 2], rows[1, 2], atol=1e-5)


def test_ravel_is_measured_on_it(source):
    torch.manual_seed(0)
    model = topk_sae(source.spec, latents=64, k=4)
    view = examine(model, source.test, 200, 0)
    evaluation = EVALUATIONS.make("ravel:steps=5,batch=16,pairs=20")
    assert evaluation.lacks(view) == ""
    with evaluation_mode(model):
        found = {check.name: check for check in evaluation(view).checks}
    assert found["ravel/carried"].value > 0.9
    for name in ("cause", "isolate", "score"):
        assert 0 <= found[f"ravel/{name}"].value <= 1
        assert found[f"ravel/{name}"].n == 160
    assert found["ravel/score"].value == pytest.approx(
        (found["ravel/cause"].value + found["ravel/isolate"].value) / 2
    )


def test_what_cannot_be_trained(monkeypatch, tmp_path):
    monkeypatch.setenv("NARROWS_CACHE", str(tmp_path))
    with pytest.raises(RequestError, match="`heads`"):
        facts_lm(**SIZES | {"heads": 3})
    with pytest.raises(RequestError, match="`context`"):
        facts_lm(**SIZES | {"context": 4})
    with pytest.raises(RequestError, match="`values`"):
        facts_lm(**SIZES | {"values": 50})
