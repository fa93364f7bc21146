"""Activations of labelled texts and words against the model, text by text."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from audit_models import plain_model
from text_models import harvest

from narrows.activations.manifest import Layer
from narrows.activations.models import Model
from narrows.audit.evidence import states as module
from narrows.audit.evidence.states import codes, lacks_states, states
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.data.labelled import Labelled, of_classes

pytest.importorskip("transformers")

TEXTS = ("a b c d", "b  b", "c", "d a d a d a", "e f", "f e d c b a a")


@pytest.fixture
def world(monkeypatch):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate("uabcdef")}, unk_token="u"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="u")
    lm, data = harvest()
    manifest = data.provenance.manifest
    manifest.header["contexts"] = {"positions": "1:", "bos": None}
    manifest.shapes = {"mix": Layer((6,), "float32")}
    language = Model(lm, tokenizer, "causal", "tiny", "r")
    monkeypatch.setattr(module, "language_model", lambda *told: language)
    module._read.cache_clear()
    yield lm, data
    module._read.cache_clear()


@torch.no_grad()
def by_hand(lm, text):
    ids = torch.tensor([["uabcdef".index(c) for c in text if c != " "]])
    h = lm.embed(ids).cumsum(1) / torch.arange(1, ids.shape[1] + 1)[:, None]
    return (lm.mix(h)[0, 1:] - 0.5) / 2  # the harvest leaves out the first position, and scales


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_states_of_texts_are_pooled_over_the_positions_of_the_harvest(world, pooling):
    lm, data = world
    found = states(of_classes("x", TEXTS, ["y", "n"] * 3), data, pooling)
    kept = [i for i, text in enumerate(TEXTS) if len(text.split()) > 1]
    assert found.rows.tolist() == kept
    assert "1 texts are too short" in found.says
    rows = [by_hand(lm, TEXTS[i]) for i in kept]
    expected = torch.stack([r.mean(0) if pooling == "mean" else r[-1] for r in rows])
    torch.testing.assert_close(found.pooled(), expected)


def test_codes_are_computed_by_token_and_then_pooled(world, monkeypatch):
    lm, data = world
    monkeypatch.setattr(module, "CHUNK", 4)
    model = plain_model((6,), latent=4, seed=3).eval()
    found = states(of_classes("x", TEXTS, ["y", "n"] * 3), data)
    kept = [text for text in TEXTS if len(text.split()) > 1]
    with torch.no_grad():
        expected = torch.stack([model.encode(Batch(by_hand(lm, text))).z.mean(0) for text in kept])
    torch.testing.assert_close(found.pooled(codes(model)), expected)


def test_words_have_the_states_of_their_tokens(world):
    lm, data = world
    words = np.array([[0, 2, 5], [3, 0, 1], [3, 4, 7], [5, 12, 13]])
    labelled = Labelled("x", ("c",), np.array([[1], [0], [1], [0]], np.int8), TEXTS, words)
    found = states(labelled, data, "mean")
    assert found.rows.tolist() == [0, 2, 3]  # the first token of a text is left out
    expected = [
        by_hand(lm, TEXTS[0])[:2].mean(0),
        by_hand(lm, TEXTS[3])[1:3].mean(0),
        by_hand(lm, TEXTS[5])[5],
    ]
    torch.testing.assert_close(found.pooled(), torch.stack(expected))
    last = states(labelled, data, "last").pooled()
    torch.testing.assert_close(last[0], by_hand(lm, TEXTS[0])[1])


def test_long_texts_are_cut_and_many_are_left_out(world, monkeypatch):
    lm, data = world
    monkeypatch.setattr(module, "LONGEST", 4)
    labelled = of_classes("x", TEXTS, ["y", "n"] * 3)
    found = states(labelled, data)
    assert "2 of 6 texts are cut at 4 tokens." in found.says
    torch.testing.assert_close(found.pooled()[2], by_hand(lm, "d a d a").mean(0))
    assert len(states(labelled, data, texts=2)) <= 2
    module._read.cache_clear()
    monkeypatch.setattr(module, "NUMBERS", 60)
    assert len(states(labelled, data).x) <= 10


def test_arrays_are_activations_in_the_units_of_the_data(world):
    _, data = world
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    found = states(Labelled("x", ("c",), np.array([[1], [0]], np.int8), x=x), data)
    torch.testing.assert_close(found.pooled(), torch.from_numpy((x - 0.5) / 2))


def test_what_has_no_activations_is_refused(world):
    _, data = world
    assert lacks_states(data) == ""
    assert "several layers" in lacks_states(data, ("labels",))
    data.provenance.at = ("mix", "embed")
    assert "several layers" in lacks_states(data)
    data.provenance.at, data.provenance.manifest.header["model"]["kind"] = ("mix",), "vision"
    assert "reads no text" in lacks_states(data)
    assert "not activations" in lacks_states(None)
    with pytest.raises(RequestError, match="reads no text"):
        states(of_classes("x", TEXTS, ["y", "n"] * 3), data)


def test_texts_without_a_kept_position_are_refused(world):
    _, data = world
    data.provenance.manifest.header["contexts"] = {"positions": "9:"}
    with pytest.raises(RequestError, match="no token at a position that the harvest keeps"):
        states(of_classes("x", TEXTS, ["y", "n"] * 3), data)
    assert isinstance(data.provenance.manifest, SimpleNamespace)
