"""The rules of Othello against counts that are known and against rules written square by square."""

from __future__ import annotations

import numpy as np
import pytest

from narrows.core.check import RequestError
from narrows.data import othello


def _lines(square: int) -> list[list[int]]:
    """The squares in each direction from a square to the edge."""
    row, column = divmod(square, 8)
    steps = [(dr, dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1) if (dr, dc) != (0, 0)]
    return [
        [
            (row + k * dr) * 8 + column + k * dc
            for k in range(1, 8)
            if 0 <= row + k * dr < 8 and 0 <= column + k * dc < 8
        ]
        for dr, dc in steps
    ]


def _turned(board: dict[int, int], who: int, square: int) -> list[int]:
    """The discs that a move turns over, found square by square."""
    if square in board:
        return []
    found = []
    for line in _lines(square):
        along = []
        for at in line:
            if board.get(at) != 1 - who:
                if board.get(at) == who:
                    found += along
                break
            along.append(at)
    return found


def _slow(game: np.ndarray) -> tuple[list[tuple[set[int], ...]], int]:
    """My discs, yours and my legal moves after each move of a game, and the number of passes."""
    board, who, found, passes = {28: 0, 35: 0, 27: 1, 36: 1}, 0, [], 0
    for square in game.tolist():
        for at in (*_turned(board, who, square), square):
            board[at] = who
        who = 1 - who
        may = {s for s in range(64) if _turned(board, who, s)}
        if not may and any(_turned(board, 1 - who, s) for s in range(64)):
            who, passes = 1 - who, passes + 1
            may = {s for s in range(64) if _turned(board, who, s)}
        found.append(({s for s in board if board[s] == who}, {s for s in board if board[s] != who}, may))
    return found, passes


def _perft(depth: int) -> list[int]:
    """The number of sequences of 1 ... `depth` moves from the start; nobody must pass so early."""
    mine, yours, counts = np.array([othello.START[0]]), np.array([othello.START[1]]), []
    for _ in range(depth):
        board, square = np.nonzero(othello.bits(othello.legal(mine, yours)))
        move = np.uint64(1) << square.astype(np.uint64)
        mine, yours = mine[board], yours[board]
        turned = othello.flips(mine, yours, move)
        mine, yours = yours & ~turned, mine | turned | move
        counts.append(len(board))
    return counts


def test_the_numbers_of_positions_are_the_known_ones():
    assert _perft(7) == [4, 12, 56, 244, 1396, 8200, 55092]


def test_random_games_follow_rules_written_square_by_square():
    games = othello.random_games(12, seed=3)
    found = othello.replay(games)
    passes = 0
    for game, mine, yours, legal in zip(games, found.mine, found.yours, found.legal, strict=True):
        length = int((game != othello.NONE).sum())
        slow, passed = _slow(game[:length])
        for at, expected in enumerate(slow):
            boards = (mine[at], yours[at], legal[at])
            assert tuple(set(np.flatnonzero(othello.bits(b))) for b in boards) == expected
        discs = othello.bits(mine | yours)[:length].sum(-1)
        assert (discs == np.arange(5, 5 + length)).all()
        passes += passed
    assert (found.valid == (games != othello.NONE)).all()
    assert passes > 0


def test_a_game_is_valid_up_to_its_first_illegal_move():
    moves = othello.squares_of(["f5 d6 c3", "f5 f5 d6", "a1 f5 d6", "f5"])
    assert othello.replay(moves).valid.tolist() == [
        [True, True, True],
        [True, False, False],
        [False, False, False],
        [True, False, False],
    ]


def test_text_and_squares_are_inverse():
    games = othello.random_games(5)
    texts = othello.as_text(games)
    assert (othello.squares_of(texts) == games[:, : max(len(t.split()) for t in texts)]).all()
    with pytest.raises(RequestError, match="squares from a1 to h8"):
        othello.squares_of(["f5 i9"])


def test_recorded_games_are_legal(real):
    games = othello.recorded_games()[::50]
    assert (othello.replay(games).valid == (games != othello.NONE)).all()
