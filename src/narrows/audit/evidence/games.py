"""Boards behind the rows of a harvest whose texts are games of Othello."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from narrows.activations.provenance import Provenance
from narrows.audit.evidence.tokens import TokenText
from narrows.audit.evidence.view import View
from narrows.core.check import RequestError
from narrows.data import othello
from narrows.data.dataset import known_of

__all__ = ["Games"]


class Games:
    """The games of the data of an audit.

    Args:
        provenance: of the rows, whose texts are games, one a context.
        square: the square of each token that is a move.
    """

    def __init__(self, provenance: Provenance, square: dict[int, int]) -> None:
        self.provenance, self.square = provenance, square
        self.context = provenance.contexts(slice(0, len(provenance)))

    @classmethod
    def of(cls, view: View) -> Games | None:
        """The games of the audit's data; None if their texts are not games of Othello."""
        provenance = known_of(view.dataset).provenance
        if provenance is None or provenance.length or not len(provenance):
            return None
        try:
            ids, _ = provenance.context_of(0)
        except RequestError:
            return None
        words = TokenText.of(provenance)
        if words.tokenizer is None:
            return None
        names = {name: number for number, name in enumerate(othello.SQUARES)}
        square = {
            token: names[text.lower()]
            for text, token in words.tokenizer.get_vocab().items()
            if text.lower() in names
        }
        moves = np.array([[square[token] for token in ids.tolist() if token in square]])
        played = moves.shape[1] >= len(ids) - 2 and bool(othello.replay(moves).valid[:, :4].all())
        return cls(provenance, square) if moves.shape[1] and played else None

    def rows(self, games: Tensor) -> Tensor:
        """The rows of some contexts, in order."""
        return torch.isin(self.context, games).nonzero().squeeze(1)

    def boards(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The board after the token of each row, (T, 64), and whether it ends a legal sequence of moves, (T,)."""
        _, first, game = np.unique(self.context[rows].numpy(), return_index=True, return_inverse=True)
        read = [self._moves(int(rows[row])) for row in first.tolist()]
        replay = othello.replay(np.stack([moves for moves, _, _ in read]))
        at = zip(game.tolist(), self.provenance.positions(rows).tolist(), strict=True)
        index = np.array([read[g][1][p] for g, p in at])
        is_move = np.isin(self.provenance.tokens(rows).numpy(), list(self.square)) & (index < 60)
        index = index.clip(0, 59)
        valid = replay.valid[game, index] & is_move
        return torch.from_numpy(replay.board()[game, index]), torch.from_numpy(valid)

    @torch.no_grad()
    def legal_moves(
        self, module: Any, device: torch.device, games: int = 64
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Whether the most probable next token of a language model is a legal move, at each move of some games.

        Args:
            module: the causal language model of the harvest.
            device: its device.
            games: largest number of games.

        Returns:
            (moves,) of 0 and 1, the share of legal squares at each, and the number of its game.
        """
        found, shares, numbers = [], [], []
        for number, context in enumerate(self.context.unique()[:games].tolist()):
            moves, index, ids = self._moves(int((self.context == context).nonzero()[0]))
            top = module(input_ids=ids[None].to(device)).logits[0].argmax(-1).tolist()
            replay = othello.replay(moves[None])
            legal = othello.bits(replay.legal[0])
            for move, token in zip(index.tolist(), top, strict=True):
                if 0 <= move < 60 and replay.valid[0, move] and legal[move].any():
                    square = self.square.get(token)
                    found.append(square is not None and bool(legal[move, square]))
                    shares.append(float(legal[move].mean()))
                    numbers.append(number)
        return torch.tensor(found).float(), torch.tensor(shares), torch.tensor(numbers, dtype=torch.long)

    def _moves(self, row: int) -> tuple[np.ndarray, np.ndarray, Tensor]:
        """The moves of a row's context (60,), the number of the last move at each of its positions, and its tokens."""
        ids, _ = self.provenance.context_of(row)
        squares = [self.square.get(token, -1) for token in ids.tolist()]
        played = [square for square in squares if square >= 0][:60]
        moves = np.full(60, othello.NONE, np.uint8)
        moves[: len(played)] = played
        return moves, np.cumsum([square >= 0 for square in squares]) - 1, ids
