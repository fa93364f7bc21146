"""The small chat model: its conversations, its template, and what it learned."""

import numpy as np
import pytest
import torch

from narrows.activations.contexts import ContextOptions, build
from narrows.activations.models import load
from narrows.core.check import RequestError
from narrows.testing.chat_lm import ROLES, chat_lm, dialogues

TEXT = [" ".join(f"Number {i} is the one after number {i - 1}." for i in range(1, 121))]
SMALL = {"width": 16, "layers": 1, "heads": 2, "context": 64, "vocabulary": 270, "batch_size": 4, "steps": 2}


def test_conversations_are_consecutive_sentences_each_used_once():
    found = dialogues(TEXT, most=3)
    assert {len(one) for one in found} <= {2, 4, 6}
    assert all(turn["role"] == ("user", "assistant")[i % 2] for one in found for i, turn in enumerate(one))
    said = [[int(turn["content"].split()[1]) for turn in one] for one in found]
    assert all(np.diff(one).tolist() == [1] * (len(one) - 1) for one in said)
    assert sorted(n for one in said for n in one) == list(range(1, 121))
    assert dialogues(TEXT, seed=1) != found


def test_the_model_reads_its_template_and_begins_turns_with_role_tokens(tmp_path, monkeypatch):
    monkeypatch.setenv("NARROWS_CACHE", str(tmp_path))
    folder = chat_lm(TEXT * 8, steps=60, batch_size=8, lr=2e-2, pretraining=SMALL)
    assert chat_lm(TEXT * 8, steps=60, batch_size=8, lr=2e-2, pretraining=SMALL) == folder
    model = load(str(folder), device="cpu")
    roles = model.tokenizer.convert_tokens_to_ids(list(ROLES))
    assert len(set(roles)) == 3
    options = ContextOptions(mode="chat", length=64, overlong="drop", special="keep")
    found = build(((one, False) for one in dialogues(TEXT)[:20]), model.tokenizer, options)
    assert found.counts["chat_template"] == "tokenizer"
    parts = np.split(found.tokens, found.ends[:-1])
    assert all(part[0] == roles[0] and part[-1] == roles[2] for part in parts)
    user = torch.tensor([[*parts[0][: list(parts[0]).index(roles[2]) + 1]]], dtype=torch.long)
    with torch.no_grad():
        after = model.module(user).logits[0, -1].softmax(-1)
    assert after[roles[1]] > 0.1  # an answer follows a question


def test_a_short_text_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("NARROWS_CACHE", str(tmp_path))
    with pytest.raises(RequestError, match="conversations"):
        chat_lm(TEXT, batch_size=200, steps=1, pretraining=SMALL)
