"""Feature pages: what is collected against brute force, and a page that is whole."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
from audit_models import gaussian_model, sparse_model
from test_html import parsed
from test_sparse_checks import dictionary_model
from text_models import harvest

from narrows.activations import models
from narrows.audit.evidence import passing, splicing, tokens
from narrows.audit.evidence.features import collect
from narrows.audit.evidence.tokens import TokenText, Unembedding
from narrows.audit.report.feature_page import feature_page
from narrows.core import Batch
from narrows.core.check import RequestError

NASTY = '<script>alert("&")</script>'


class Tokenizer:
    """Letters with the mark of a leading space; one of them is hostile."""

    def get_vocab(self):
        return {"a": 0}

    def convert_ids_to_tokens(self, token):
        return NASTY if token == 3 else f"▁{chr(97 + token)}"

    def decode(self, ids):
        return NASTY if ids[0] == 3 else chr(97 + ids[0])


@pytest.fixture
def text(monkeypatch):
    lm, data = harvest()
    lm.get_output_embeddings = lambda: SimpleNamespace(weight=lm.head.weight[:, :6])
    language = SimpleNamespace(module=lm, vocabulary=17, device=torch.device("cpu"), tokenizer=Tokenizer())
    monkeypatch.setattr(splicing, "language_model", lambda *told: language)
    monkeypatch.setattr(models, "load_tokenizer", lambda source, **how: Tokenizer())
    monkeypatch.setattr(passing, "_ROWS", 10)  # a context, and the beginning of the next
    return lm, data


def signed_model():
    torch.manual_seed(5)
    return dictionary_model(torch.randn(12, 6), torch.randn(12, 6), 3)


def test_top_examples_are_the_largest_of_each_context(text):
    _, data = text
    model = signed_model()
    found = collect(model, data, count=12)
    with torch.no_grad():
        z = model.encode(Batch(data.batch(slice(0, len(data))).x)).z.dense()
    assert found.kind == "text"
    assert torch.allclose(found.density, (z != 0).double().mean(0))
    for feature in found.features:
        column = z[:, feature.latent]
        assert feature.fires == int((column != 0).sum())
        assert feature.largest == pytest.approx(float(column.abs().max()))
        assert feature.mean == pytest.approx(float(column.abs().sum() / max(1, feature.fires)), rel=1e-5)
        best = {}
        for row, value in enumerate(column.tolist()):
            context = int(data.provenance.of[row])
            if value and (context not in best or abs(value) > abs(best[context][1])):
                best[context] = (row, value)
        expected = sorted(best.values(), key=lambda pair: -abs(pair[1]))
        assert [s.row for s in feature.top] == [row for row, _ in expected]
        assert [s.value for s in feature.top] == pytest.approx([value for _, value in expected], rel=1e-5)
        assert all(column[s.row] != 0 for s in feature.others)


def test_words_and_values_stand_where_they_belong(text):
    _, data = text
    model = signed_model()
    found = collect(model, data, count=12)
    with torch.no_grad():
        z = model.encode(Batch(data.batch(slice(0, len(data))).x)).z.dense()
    for feature in found.features:
        for s in feature.top + feature.others:
            ids, position = data.provenance.context_of(s.row)
            assert list(s.words) == [NASTY if i == 3 else f" {chr(97 + i)}" for i in ids.tolist()]
            assert s.at == position
            assert s.values[0] is None  # the first token of a context was not harvested
            rows = range(s.row - position + 1, s.row - position + len(ids))
            assert list(s.values[1:]) == pytest.approx(
                [float(z[row, feature.latent]) for row in rows], rel=1e-5
            )


def test_logits_and_neighbours_by_hand(text):
    lm, data = text
    model = signed_model()
    found = collect(model, data, count=12)
    atoms = model.decoder.atoms.detach()
    cosine = torch.nn.functional.cosine_similarity(atoms[:, None], atoms[None], dim=-1)
    living = {f.latent for f in found.features}
    effect = (atoms * 2) @ lm.head.weight[:, :6].detach().T  # 2 is the scale of the data
    effect = effect - effect.mean(1, keepdim=True)
    assert found.logits
    for f in found.features:
        others = [
            j for j in cosine[f.latent].argsort(descending=True).tolist() if j != f.latent and j in living
        ]
        assert [j for j, _ in f.neighbours] == others[:5]
        order = effect[f.latent].argsort(descending=True)
        assert [w for w, _ in f.promoted] == [TokenText(Tokenizer())(int(t)) for t in order[:8]]
        assert [v for _, v in f.suppressed] == pytest.approx(
            effect[f.latent][order.flip(0)[:8]].tolist(), abs=1e-4
        )


def test_the_final_norm_is_folded_in():
    norm = torch.nn.LayerNorm(6)
    torch.nn.init.normal_(norm.weight)
    module = SimpleNamespace(base_model=torch.nn.ModuleList([torch.nn.Linear(6, 6), norm]))
    gain, centred = tokens._final_norm(module)
    assert centred
    assert torch.equal(gain, norm.weight)
    matrix, direction = torch.randn(9, 6), torch.randn(1, 6)
    effect = Unembedding(matrix, gain, centred)(direction)
    # the derivative of the logits along the direction, at a stream of variance 1 that it does not change
    stream = torch.randn(1, 6, dtype=torch.double)
    stream = (stream - stream.mean()) / stream.std(correction=0)
    centre = direction.double() - direction.double().mean()
    stream = stream - (stream @ centre.T) / centre.square().sum() * centre
    stream = stream / stream.std(correction=0)
    doubled = torch.nn.LayerNorm(6, eps=0).double()
    doubled.weight.data = gain.double().detach()
    logits = lambda t: (doubled(stream + t * direction.double()) @ matrix.double().T).detach()  # noqa: E731
    slope = (logits(1e-5) - logits(-1e-5)) / 2e-5
    assert torch.allclose(effect.double(), slope - slope.mean(), atol=1e-4)


def test_chosen_by_energy_and_by_lot():
    model = signed_model()
    x = torch.randn(500, 6)
    found = collect(model, x, count=6, seed=1)
    with torch.no_grad():
        z = model.encode(Batch(x)).z.dense()
    energy = z.double().square().sum(0) * model.decoder.atoms.detach().double().square().sum(1)
    order = energy.argsort(descending=True).tolist()
    assert [f.latent for f in found.features[:4]] == order[:4]
    assert found.features[0].energy == pytest.approx(float(energy.max() / energy.sum()), rel=1e-4)
    assert {f.latent for f in found.features[4:]} <= set(order[4:])
    assert len({f.latent for f in found.features}) == 6
    assert "4 latents that add most" in found.rule
    assert [f.latent for f in collect(model, x, latents=(3, 1)).features] == [3, 1]
    with pytest.raises(RequestError, match="12"):
        collect(model, x, latents=(12,))


def test_no_sparse_code_no_page():
    assert collect(gaussian_model(), torch.randn(50, 6)) is None


def test_a_page_of_text_is_whole_safe_and_needs_nothing_from_outside(text):
    _, data = text
    found = collect(signed_model(), data, count=12)
    page = feature_page(found, method="abstopk-sae", data="<b>tiny</b>", report="report.html")
    reader = parsed(page)
    assert page.count("<script>") == 1  # our own
    assert NASTY in "".join(reader.text)
    assert all(a.startswith("#f") or a == "report.html" for a in reader.addresses)
    assert not re.search(r"url\(|@import|https?://", page)
    assert len(re.findall('<article class="sheet feature"', page)) == len(found.features)
    assert "<b>tiny" not in page
    negative = [s for f in found.features for s in f.top if s.value < 0]
    assert negative
    assert 'class="a n"' in page


@pytest.mark.parametrize("shape", [(1, 4, 4), (70,)])
def test_pictures_and_curves(shape):
    model = sparse_model(shape, latents=9, k=2)
    x = torch.rand(80, *shape)
    found = collect(model, x, count=4)
    page = feature_page(found)
    parsed(page)
    assert found.kind == ("images" if len(shape) == 3 else "vectors")
    assert page.count("data:image/png" if len(shape) == 3 else 'class="panels"') == 3 * len(found.features)
    for feature in found.features:
        for s in feature.top:
            assert torch.equal(s.x, x[s.row])


def test_facts_are_json():
    found = collect(signed_model(), torch.randn(50, 6), count=3)
    told = json.loads(json.dumps(found.to_json()))
    assert [f["latent"] for f in told["features"]] == [f.latent for f in found.features]
    assert told["width"] == 12


def test_a_model_that_was_in_memory_is_not_looked_for(text, monkeypatch):
    _, data = text
    data.provenance.manifest.header["model"]["source"] = ""
    monkeypatch.setattr(splicing, "language_model", lambda *told: pytest.fail(f"looked for {told}"))
    found = collect(signed_model(), data, count=3)
    assert not found.logits
    assert found.features[0].top[0].words[0].startswith(" #")
    with pytest.raises(RequestError, match="in memory"):
        splicing.Splicer.of(data)
