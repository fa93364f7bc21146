"""The speller spells every word, is kept, and can be harvested."""

from collections import Counter

import pytest
import torch

import narrows as nr
import narrows.data
from narrows.activations.models import load
from narrows.core.check import RequestError
from narrows.testing.speller import LETTERS, TEXT, invented_words, speller, spellings

SIZES = {"words": 52, "width": 16, "layers": 1, "context": 12, "steps": 150, "batch_size": 16, "lr": 2e-2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NARROWS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield speller(**SIZES)


def test_words_are_different_and_begin_with_every_letter_equally_often():
    words = invented_words(260, seed=3)
    assert len(set(words)) == 260
    assert set(Counter(word[0] for word in words).values()) == {10}
    assert all(len(word) > 2 and word.isalpha() and word.islower() for word in words)
    assert words != invented_words(260, seed=4)


def test_spellings_follow_zipf():
    words = invented_words(5)
    counts = Counter(line.split(" : ")[0] for line in spellings(words, 20_000, zipf=1.0))
    total = sum(1 / i for i in range(1, 6))
    for i, word in enumerate(words, 1):
        assert counts[word] / 20_000 == pytest.approx(1 / i / total, abs=0.01)
    even = Counter(spellings(words, 10))
    assert set(even.values()) == {2}
    assert all(line.split(" : ")[1] == line[0] for line in even)


def test_it_names_the_first_letter_of_each_word(folder):
    model, words = load(folder, "cpu"), (folder / "words.txt").read_text().split()
    assert len(words) == 52
    ids = torch.tensor(
        [model.tokenizer(f"{words[0]} : {words[0][0]} {word} :")["input_ids"] for word in words]
    )
    said = model.tokenizer.convert_ids_to_tokens(model.module(input_ids=ids).logits[:, -1].argmax(-1))
    assert sum(letter == word[0] for letter, word in zip(said, words, strict=True)) > 0.9 * len(words)


def test_it_is_harvested_from_its_own_text(folder, tmp_path):
    assert set((folder / TEXT).read_text().split()) & set(LETTERS) == set(LETTERS)
    acts = nr.harvest(
        folder,
        folder / TEXT,
        "resid.0",
        tmp_path / "acts",
        context=12,
        positions="1:",
        tokens=600,
        progress=False,
    )
    source = narrows.data.open(tmp_path / "acts")
    assert acts is not None
    tokens = source.train.provenance.tokens(slice(0, 3))
    assert source.spec.shape == (16,)
    assert tokens[0] == 1  # the first position is left out, so that a colon is the first row


def test_what_cannot_be_trained(monkeypatch, tmp_path):
    monkeypatch.setenv("NARROWS_CACHE", str(tmp_path))
    with pytest.raises(RequestError, match="`heads`"):
        speller(**SIZES | {"heads": 3})
    with pytest.raises(RequestError, match="`context`"):
        speller(**SIZES | {"context": 2})
