"""The language model of Othello: its games, its targets, and a training that goes on after an interruption."""

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from narrows.activations.models import load
from narrows.core.check import RequestError
from narrows.core.progress import Silent
from narrows.core.tensorfile import read_tensors
from narrows.data import othello as rules
from narrows.testing import othello

SIZES = {"games": "random", "width": 16, "layers": 1, "heads": 2, "batch_size": 4}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NARROWS_CACHE", str(tmp_path))


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path, monkeypatch):
    whole = read_tensors(othello.othello_lm(**SIZES, steps=6) / "model.safetensors")
    monkeypatch.setenv("NARROWS_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(othello, "_SAVED_EVERY", 2)
    made = othello._Batches.__call__

    def until_four(self, step):
        if step == 4:
            raise KeyboardInterrupt
        return made(self, step)

    monkeypatch.setattr(othello._Batches, "__call__", until_four)
    with pytest.raises(KeyboardInterrupt):
        othello.othello_lm(**SIZES, steps=6)
    monkeypatch.setattr(
        othello._Batches, "__call__", lambda self, step: made(self, step) if step >= 4 else 1 / 0
    )
    folder = othello.othello_lm(**SIZES, steps=6)
    again = read_tensors(folder / "model.safetensors")
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_targets_are_the_legal_moves_or_the_move_that_was_played():
    games = rules.random_games(3, seed=4)
    inputs, legal, counted = othello._Batches(games, 3, 0, "legal").of(torch.arange(3))
    played = othello._Batches(games, 3, 0, "played").of(torch.arange(3))[1]
    assert (counted.numpy() == (games < 64)).all()
    assert (inputs[:, 0] == 0).all()
    assert (inputs[:, 1:].numpy()[games[:, :-1] < 64] == games[:, :-1][games[:, :-1] < 64] + 1).all()
    for game in range(3):
        for at in range(60):
            before = rules.replay(games[game : game + 1, :at]) if at else None
            may = rules.bits(rules.legal(*rules.START) if before is None else before.legal[0, -1])
            if games[game, at] < 64:
                assert np.allclose(legal[game, at, 1:65].numpy(), may / may.sum())
                assert played[game, at].argmax() == games[game, at] + 1
                assert may[games[game, at]]


def test_training_raises_the_share_of_legal_moves():
    games = othello.held_out_games("random", 40)
    begun, trained = (othello.othello_lm(**SIZES | {"batch_size": 16}, steps=steps) for steps in (0, 60))
    before, after = (othello.legal_moves(load(str(folder)).module, games) for folder in (begun, trained))
    assert before.chance == after.chance == pytest.approx(0.13, abs=0.03)
    assert after.mass > before.mass + 0.015
    assert after.top > before.top + 0.08
    tokenizer = load(str(trained)).tokenizer
    assert tokenizer("f5 d6 zz")["input_ids"] == [0, 1 + 37, 1 + 43, 65]


def test_bad_arguments_are_refused():
    for wrong in ({"games": "wthor"}, {"target": "best"}, {"heads": 3}, {"steps": -1}):
        with pytest.raises(RequestError):
            othello.othello_lm(**SIZES | {"steps": 1} | wrong)


def test_games_for_training_are_not_held_out():
    train, test = othello.training_games("random", 50), othello.held_out_games("random", 50)
    assert not set(map(bytes, train)) & set(map(bytes, test))


def test_recorded_games_for_training_are_not_held_out(real):
    train, test = othello.training_games("recorded", 10**6), othello.held_out_games("recorded")
    assert len(test) == 3000
    assert len(train) > 100_000
    assert not set(map(bytes, train)) & set(map(bytes, test))


def test_a_training_of_minutes_says_so_before_it_begins(monkeypatch):
    said: list[str] = []

    class Told(Silent):
        def begin(self, title, total, done=0, what="steps"):
            said.append(title)

        def say(self, text):
            said.append(text)

    monkeypatch.setattr(othello, "_PER_MINUTE", 4 * 4 * 16**2 / 2)
    othello.othello_lm(**SIZES, steps=4, progress=Told())
    assert "about 2 minutes" in said[0]
    assert said[1].startswith("Training")
    othello.othello_lm(**SIZES, steps=4, progress=Told())  # it is in the cache
    assert len(said) == 2
