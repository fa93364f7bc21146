"""The small language model learns, is kept, and is the same again."""

import pytest
import torch

from narrows.activations.models import load
from narrows.core.check import RequestError
from narrows.testing import tiny_lm

SIZES = {"width": 16, "layers": 1, "heads": 2, "context": 16, "vocabulary": 280, "batch_size": 4, "lr": 1e-2}
TEXT = ["a small boat and a wide sea and a small boat. " * 40]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NARROWS_CACHE", str(tmp_path / "cache"))


def loss(folder):
    model = load(folder, "cpu")
    ids = torch.tensor([model.tokenizer(TEXT[0])["input_ids"][:16]])
    return float(model.module(input_ids=ids, labels=ids).loss.detach())


def test_it_learns_and_is_found_again():
    begun, trained = tiny_lm(TEXT, steps=1, **SIZES), tiny_lm(TEXT, steps=20, **SIZES)
    assert loss(trained) < 0.7 * loss(begun)
    weights = trained / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert tiny_lm(TEXT, steps=20, **SIZES) == trained
    assert weights.stat().st_mtime_ns == before


def test_the_seed_decides(monkeypatch, tmp_path):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = tiny_lm(TEXT, steps=3, **SIZES)
    assert torch.equal(torch.get_rng_state(), state)
    other = tiny_lm(TEXT, steps=3, seed=1, **SIZES)
    monkeypatch.setenv("NARROWS_CACHE", str(tmp_path / "elsewhere"))
    torch.manual_seed(6)
    again = tiny_lm(TEXT, steps=3, **SIZES)
    assert again != one
    assert (again / "model.safetensors").read_bytes() == (one / "model.safetensors").read_bytes()
    assert (again / "tokenizer.json").read_bytes() == (one / "tokenizer.json").read_bytes()
    assert (other / "model.safetensors").read_bytes() != (one / "model.safetensors").read_bytes()


def test_what_cannot_be_trained():
    with pytest.raises(RequestError, match="a batch needs 4"):
        tiny_lm(["too short"], steps=1, **SIZES)
    with pytest.raises(RequestError, match="`heads`"):
        tiny_lm(TEXT, steps=1, **SIZES | {"heads": 3})
    with pytest.raises(RequestError, match="`vocabulary`"):
        tiny_lm(TEXT, steps=1, **SIZES | {"vocabulary": 20})


def test_a_string_of_lines_is_the_text_itself():
    from narrows.runs.harvesting.inputs import of_text

    lines = "Once there was a fox.\nIt ran.\n" * 2000  # longer than any path
    assert list(of_text(lines, "text", "file").documents()) == list(
        of_text([lines], "text", "file").documents()
    )
