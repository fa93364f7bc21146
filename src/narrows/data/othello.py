"""Othello: the rules on bitboards, many games at once, and games as text.

A board is two 64-bit numbers, one for the discs of each player; bit ``8 * (row - 1) + column`` is a square, so bit 0
is a1, bit 7 h1 and bit 63 h8. A game is a row of squares; a player who cannot move passes, and passes are not written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from narrows.core.check import refuse, whole
from narrows.data.named import registry
from narrows.data.named.reading import arrays

__all__ = [
    "NONE",
    "SQUARES",
    "START",
    "Replay",
    "as_text",
    "bits",
    "flips",
    "legal",
    "random_games",
    "recorded_games",
]
__all__ += ["replay", "squares_of"]

NONE = 255
"""In place of a move after the end of a game."""

SQUARES = tuple(f"{column}{row}" for row in range(1, 9) for column in "abcdefgh")
"""The names of the squares, in the order of the bits."""

START = (np.array(1 << 28 | 1 << 35, np.uint64), np.array(1 << 27 | 1 << 36, np.uint64))
"""The discs of the first player, black, and of the second at the start."""

_NOT_A, _NOT_H = np.uint64(0xFEFEFEFEFEFEFEFE), np.uint64(0x7F7F7F7F7F7F7F7F)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_STEPS = (
    (1, _NOT_A),
    (-1, _NOT_H),
    (8, _ALL),
    (-8, _ALL),
    (9, _NOT_A),
    (7, _NOT_H),
    (-7, _NOT_A),
    (-9, _NOT_H),
)
"""The eight directions: how far a bit moves, and the squares that it can arrive at."""


@dataclass(frozen=True)
class Replay:
    """The positions of G games after each of T moves, from the side of the player who moves next.

    Args:
        mine: the discs of the player who moves next, (G, T) uint64.
        yours: the discs of the other, (G, T) uint64.
        legal: the squares to which the player may move; 0 at the end of a game, (G, T) uint64.
        valid: whether the moves up to this one exist and are legal, (G, T) bool.
    """

    mine: np.ndarray
    yours: np.ndarray
    legal: np.ndarray
    valid: np.ndarray

    def board(self) -> np.ndarray:
        """The content of each square: 0 empty, 1 mine, 2 yours, (G, T, 64) uint8."""
        return bits(self.mine).astype(np.uint8) + 2 * bits(self.yours).astype(np.uint8)


def bits(boards: np.ndarray) -> np.ndarray:
    """The squares of bitboards: (...) uint64 to (..., 64) bool.

    Example:
        >>> np.flatnonzero(bits(START[0]))
        array([28, 35])
    """
    little = np.ascontiguousarray(np.asarray(boards, dtype="<u8")[..., None])
    return np.unpackbits(little.view(np.uint8), axis=-1, bitorder="little").astype(bool)


def legal(mine: np.ndarray, yours: np.ndarray) -> np.ndarray:
    """The squares to which the owner of `mine` may move, (...) uint64.

    Example:
        >>> [SQUARES[i] for i in np.flatnonzero(bits(legal(*START)))]
        ['d3', 'c4', 'f5', 'e6']
    """
    found = np.zeros_like(mine)
    for step, inside in _STEPS:
        found |= _shift(_run(mine, yours, step, inside), step, inside)
    return found & ~(mine | yours)


def flips(mine: np.ndarray, yours: np.ndarray, move: np.ndarray) -> np.ndarray:
    """The discs that a move turns over, (...) uint64; 0 if it is illegal.

    Args:
        mine: the discs of the player who moves.
        yours: the discs of the other.
        move: the square of the move as a bitboard.
    """
    found = np.zeros_like(mine)
    for step, inside in _STEPS:
        line = _run(move, yours, step, inside)
        ends = (_shift(line, step, inside) & mine) != 0
        found |= np.where(ends, line, np.uint64(0))
    return np.where((move & (mine | yours)) == 0, found, np.uint64(0))


def _run(start: np.ndarray, through: np.ndarray, step: int, inside: np.uint64) -> np.ndarray:
    """The unbroken lines of `through` that begin beside `start` in one direction; at most six squares long."""
    line = _shift(start, step, inside) & through
    for _ in range(5):
        line |= _shift(line, step, inside) & through
    return line


def _shift(boards: np.ndarray, step: int, inside: np.uint64) -> np.ndarray:
    moved = boards << np.uint64(step) if step > 0 else boards >> np.uint64(-step)
    return moved & inside


def replay(moves: np.ndarray) -> Replay:
    """Play games from the start.

    Args:
        moves: squares 0 to 63, (G, T); any other number ends a game.

    Example:
        >>> found = replay(squares_of(["f5 d6 c3 f5"]))
        >>> found.valid
        array([[ True,  True,  True, False]])
        >>> "".join(".xo"[i] for i in found.board()[0, 0, 24:40])
        '...xo......ooo..'
    """
    games, length = moves.shape
    boards = np.zeros((3, games, length), np.uint64)
    found = Replay(boards[0], boards[1], boards[2], np.zeros((games, length), bool))
    mine, yours = np.full(games, START[0]), np.full(games, START[1])
    valid = np.ones(games, bool)
    for at in range(length):
        square = moves[:, at].astype(np.int64)
        on_board = (square >= 0) & (square < 64)
        move = np.where(
            on_board, np.uint64(1) << np.where(on_board, square, 0).astype(np.uint64), np.uint64(0)
        )
        turned = flips(mine, yours, move)
        valid &= turned != 0
        mine, yours, may = _next(mine, yours, np.where(valid, turned, 0), np.where(valid, move, 0), valid)
        found.mine[:, at], found.yours[:, at], found.legal[:, at], found.valid[:, at] = (
            mine,
            yours,
            may,
            valid,
        )
    return found


def _next(
    mine: np.ndarray, yours: np.ndarray, turned: np.ndarray, move: np.ndarray, moved: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The boards of the player who moves next and of the other, and the next legal moves, after a move."""
    after_mine, after_yours = mine | turned | move, yours & ~turned
    may, again = legal(after_yours, after_mine), legal(after_mine, after_yours)
    passes = (may == 0) & (again != 0) | ~moved  # a player who cannot move passes
    return (
        np.where(passes, after_mine, after_yours),
        np.where(passes, after_yours, after_mine),
        np.where(passes, again, may),
    )


def random_games(count: int, seed: int = 0) -> np.ndarray:
    """Games in which each move is drawn uniformly from the legal ones, (count, 60) uint8.

    Args:
        count: number of games.
        seed: of the draws.

    Example:
        >>> games = random_games(3)
        >>> games.shape, bool(replay(games).valid[:, :9].all())
        ((3, 60), True)
    """
    random = np.random.default_rng(seed)
    moves = np.full((whole("count", count), 60), NONE, np.uint8)
    mine, yours = np.full(count, START[0]), np.full(count, START[1])
    may = legal(mine, yours)
    for at in range(60):
        on = may != 0
        square = (random.random((count, 64), np.float32) * bits(may)).argmax(1)
        moves[on, at] = square[on]
        move = np.where(on, np.uint64(1) << square.astype(np.uint64), np.uint64(0))
        mine, yours, may = _next(mine, yours, flips(mine, yours, move), move, on)
    return moves


def recorded_games() -> np.ndarray:
    """The games of tournaments from 1977 to 2025, (G, 60) uint8, in the order of the record.

    Raises:
        WorkError: the set `othello` is not here.
    """
    return arrays(registry.expand("othello"), "moves")[0]


def as_text(moves: np.ndarray) -> list[str]:
    """Games as words, ``f5 d6 c3``.

    Example:
        >>> as_text(np.array([[37, 43, NONE]]))
        ['f5 d6']
    """
    return [" ".join(SQUARES[square] for square in game if square < 64) for game in moves.tolist()]


def squares_of(games: Sequence[str]) -> np.ndarray:
    """The inverse of `as_text`: (G, longest game), with `NONE` after the end of a game.

    Raises:
        RequestError: a word is not a square.
    """
    number = {name: at for at, name in enumerate(SQUARES)}
    rows = [game.lower().split() for game in games]
    moves = np.full((len(rows), max(map(len, rows), default=0)), NONE, np.uint8)
    for at, row in enumerate(rows):
        if strange := next((word for word in row if word not in number), None):
            raise refuse("games", strange, "squares from a1 to h8")
        moves[at, : len(row)] = [number[word] for word in row]
    return moves
