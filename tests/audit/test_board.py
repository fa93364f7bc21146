"""What latents say about boards: against loops over latents and thresholds, and on a harvest of a small model."""

import numpy as np
import pytest
import torch
from audit_models import sparse_model

import narrows as nr
from narrows.audit.evaluations.board import BoardGame
from narrows.audit.evidence.games import Games
from narrows.audit.evidence.view import examine
from narrows.audit.metrics.board import Probe, board_figures, probe_figures, properties
from narrows.data import othello

BOARDS = torch.from_numpy(othello.replay(othello.random_games(12, seed=5)).board()[:, :40].reshape(-1, 64))


def _f1(guess, truth):
    both = int((guess & truth).sum())
    return 2 * both / max(1, int(guess.sum()) + int(truth.sum()))


def test_latents_that_are_the_properties_cover_and_reconstruct_all():
    for empty in (False, True):
        truth = properties(BOARDS, empty)
        found = board_figures(3 * truth.float(), truth, 3 * truth.float(), truth)
        seen = truth.any(0).float().mean()  # a square that is never held has no F1
        assert found.coverage == pytest.approx(float(seen))
        assert found.reconstruction == pytest.approx(
            1, abs=0.02
        )  # one that is on in fewer than ten positions stands for nothing


def test_figures_are_those_of_loops_over_latents_and_thresholds():
    torch.manual_seed(0)
    truth = properties(BOARDS)[:, 20:28]
    codes = (torch.rand(len(truth), 5) * (torch.rand(len(truth), 5) < 0.5)) + truth[:, :5] * torch.rand(5)
    train, seen, test, real = codes[:300], truth[:300], codes[300:], truth[300:]
    largest, levels = train.amax(0), [n / 10 for n in range(11)]
    covered = []
    for p in range(8):
        scores = {(t, j): _f1(train[:, j] > t * largest[j], seen[:, p]) for t in levels for j in range(5)}
        best = max(scores.values())
        t, j = next(key for key, score in scores.items() if score == best)
        covered.append(_f1(test[:, j] > t * largest[j], real[:, p]))
    boards = {}
    for t in levels:
        guesses = []
        for x in (train, test):
            on, guess = x > t * largest, torch.zeros(len(x), 8, dtype=torch.bool)
            for j in range(5):
                fires = train[:, j] > t * largest[j]
                for p in range(8):
                    if fires.sum() >= 10 and seen[fires, p].float().mean() >= 0.95:
                        guess[:, p] |= on[:, j]
            guesses.append(guess)
        boards[t] = [
            np.mean([_f1(a, b) for a, b in zip(g, r, strict=True)]) for g, r in zip(guesses, (seen, real))
        ]
    t = max(boards, key=lambda level: boards[level][0])
    found = board_figures(train, seen, test, real)
    assert found.coverage == pytest.approx(np.mean(covered), abs=1e-6)
    assert found.reconstruction == pytest.approx(boards[t][1], abs=1e-6)


def test_a_linear_probe_reads_what_is_linear_and_nothing_from_noise():
    boards = torch.from_numpy(
        othello.replay(othello.random_games(50, seed=6)).board()[:, ::2].reshape(-1, 64)
    )
    one_hot = torch.nn.functional.one_hot(boards.long(), 3).flatten(1).float()

    def figures(x):
        probe = Probe.fit(x[::2], boards[::2])
        return probe_figures(probe, x[::2], boards[::2], x[1::2], boards[1::2])

    read, blind = figures(one_hot @ torch.randn(192, 192)), figures(torch.randn(len(boards), 8))
    assert read.reconstruction > 0.95
    assert blind.reconstruction < 0.6
    assert read.coverage > blind.coverage + 0.2


@pytest.fixture(scope="module")
def view(tmp_path_factory):
    pytest.importorskip("transformers")
    from narrows.testing.othello import held_out_games, othello_lm

    folder = tmp_path_factory.mktemp("othello")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NARROWS_CACHE", str(folder / "cache"))
        model = othello_lm("random", width=16, layers=1, heads=2, steps=0, batch_size=4)
        games = held_out_games("random", 90)
    texts = othello.as_text(games)
    nr.harvest(str(model), at="resid.0", text=texts, mode="documents", out=folder / "acts", progress=False)
    source = nr.data.open(str(folder / "acts"))
    view = examine(sparse_model(shape=(16,), latents=24), source.train, 200, seed=0)
    return view, games


def test_rows_of_a_harvest_are_beside_their_boards(view):
    view, games = view
    found = Games.of(view)
    rows = found.rows(found.context.unique()[:5])
    boards, valid = found.boards(rows)
    assert valid.all()
    provenance = view.dataset.known.provenance
    replay = othello.replay(games)
    boards_of = {bytes(game[game < 64]): board for game, board in zip(games, replay.board(), strict=True)}
    for row, board in zip(rows.tolist(), boards, strict=True):
        ids, _ = provenance.context_of(row)
        position = int(provenance.positions(torch.tensor([row]))[0])
        moves = (ids[1:] - 1).numpy().astype(np.uint8)
        assert (boards_of[bytes(moves)][position - 1] == board.numpy()).all()


def test_the_evaluation_is_refused_where_the_model_does_not_know_the_board(view):
    view, _ = view
    assert BoardGame().lacks(view) == ""
    probe, *others = BoardGame(games=20)(view).checks
    assert probe.name == "board/probe"
    assert probe.value < 0.6
    assert [check.value for check in others] == [None, None]
    assert all("the model does not know them" in check.says for check in others)


def test_the_evaluation_has_figures_between_bounds(view, monkeypatch):
    view, _ = view
    monkeypatch.setattr("narrows.audit.evaluations.board._READABLE", 0.0)
    checks = {check.name.removeprefix("board/"): check for check in BoardGame(games=20)(view).checks}
    assert set(checks) == {
        "probe",
        "coverage",
        "reconstruction",
        "coverage-with-empty",
        "reconstruction-with-empty",
        "legal-moves",
    }
    assert checks["coverage"].spread > 0
    assert 0 < checks["coverage"].chance < 1
    assert checks["legal-moves"].chance == pytest.approx(0.13, abs=0.03)


def test_data_that_are_no_games_are_refused():
    said = BoardGame().lacks(examine(sparse_model(), torch.randn(50, 6), 50, seed=0))
    assert "not activations of a model that reads games of Othello" in said
