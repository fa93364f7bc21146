"""`board`: what latents of a model of Othello say about the board."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from narrows.audit.evaluations.evaluation import Evaluation
from narrows.audit.evidence.drawn import passed, vectors
from narrows.audit.evidence.games import Games
from narrows.audit.evidence.reseeds import Reseeded, reseed, spread
from narrows.audit.evidence.splicing import language_of
from narrows.audit.evidence.view import View
from narrows.audit.metrics.board import Board, Probe, board_figures, probe_figures, properties
from narrows.audit.report.finding import Check, Finding, not_measured
from narrows.core import Batch, dense
from narrows.core.check import NarrowsError, whole

__all__ = ["BoardGame"]

_FEWEST, _READABLE = 20, 0.6
"""Fewest games in each half, and the board F1 that a linear probe must have."""


class BoardGame(Evaluation):
    r"""What single latents say about the board, for activations of a model of Othello.

    .. math:: \mathrm{coverage} = \frac{1}{P} \sum_g F_1(\phi_g, g), \qquad
        \phi_g = \arg\max_{j, t} F_1(z_j > t \max z_j, g)

    The properties g are the 64 squares, each of them *mine* or *yours* to the player who moves next; empty squares are
    left out, and are added in two further figures, since they can be read off the moves without knowing the rules.
    The coverage is the mean F1 of the best latent and threshold (of 0, .1 ... 1) of each property, chosen on some games
    and judged on others. The reconstruction is the mean F1 of whole boards that are predicted by the union of all
    latents of high precision: a latent stands for every property that is true in 95% of the training positions where
    it is on, at least ten. Upper and lower bounds are linear probes and the dimensions of the activations.

    Figures: `board/coverage` and `board/reconstruction`, with empty squares `board/coverage-with-empty` and
    `board/reconstruction-with-empty`, and the premises `board/probe` and `board/legal-moves`.

    Chance: a random dictionary of equal shape and L0; of the probes, probes of boards in another order.

    Cost: five draws of games; for each threshold, products of the codes and the properties of all positions.

    Misleads when: the model does not know the board; where a linear probe has a board F1 below .6, nothing is
    measured. A latent that is always on has an F1 of 2p/(1+p) for a property with share p, a half for a third: sparse
    latents can cover less than neurons, which are on in half of the positions.

    Args:
        games: largest number of games that thresholds are chosen on, and of others that are judged.

    Example:
        >>> BoardGame(games=100).games
        100

    Reference:
        Karvonen et al., Measuring progress in dictionary learning for language model interpretability with board game
        models, 2024. arXiv:2408.00113
    """

    seconds: ClassVar[float] = 60

    def __init__(self, games: int = 200) -> None:
        self.games = whole("games", games, low=_FEWEST)

    def lacks(self, view: View) -> str:
        """A sparse code of activations of a model that reads games of Othello."""
        if not vectors(view):
            return "The model has no sparse code of one vector for each example."
        games = Games.of(view)
        if games is None:
            return "The data are not activations of a model that reads games of Othello (f5 d6 c3 ...), one a context."
        count = len(games.context.unique())
        return (
            "" if count >= 2 * _FEWEST else f"At least {2 * _FEWEST} games are needed, and there are {count}."
        )

    def __call__(self, view: View) -> Finding:
        """Coverage and reconstruction between their bounds."""
        games = Games.of(view)
        assert games is not None
        found = reseed(lambda seed: self._measure(view, games, seed), view.seed)
        count = int(found["positions"].mean)
        probe = found["probe/reconstruction"]
        checks = [
            Check(
                "board/probe",
                probe.mean,
                "",
                "info",
                "Mean F1 of boards that linear probes read off the activations: what a dictionary can reach.",
                chance=found["shuffled/reconstruction"].mean,
                spread=probe.spread,
                n=count,
            )
        ]
        if probe.mean < _READABLE:
            reason = f"A linear probe reads boards with an F1 of {probe.mean:.2f} only: the model does not know them."
            return Finding(
                (*checks, *(not_measured(f"board/{name}", reason, count) for name in Board._fields))
            )
        checks += [_check(name, found, count) for name in (*Board._fields, *_with_empty())]
        legal = _legal_moves(games, view.seed)
        return Finding((*checks, *(() if legal is None else (legal,))))

    def _measure(self, view: View, games: Games, seed: int) -> Mapping[str, float]:
        """The figures of codes, random dictionary, neurons and probes, with games drawn from a seed."""
        contexts = games.context.unique()
        drawn = contexts[torch.randperm(len(contexts), generator=torch.Generator().manual_seed(seed))]
        half = min(self.games, len(contexts) // 2)
        sides = [_positions(view, games, some) for some in (drawn[:half], drawn[half : 2 * half])]
        (x, board), (far, truth) = ((side["x"], side["board"]) for side in sides)
        centre = x.mean(0)
        latents: dict[str, list[Tensor]] = {
            name: [side[name] for side in sides] for name in ("codes", "random")
        }
        latents["neurons"] = [torch.cat([each - centre, centre - each], 1).relu() for each in (x, far)]
        probe = Probe.fit(x, board)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        blind = probe_figures(Probe.fit(x, board[order]), x, board, far, truth)
        found = {"positions": float(len(far)), "shuffled/reconstruction": blind.reconstruction}
        for empty, suffix in ((False, ""), (True, "-with-empty")):
            seen, real = properties(board, empty), properties(truth, empty)
            figures = {name: board_figures(each[0], seen, each[1], real) for name, each in latents.items()}
            figures["probe"] = probe_figures(probe, x, board, far, truth, empty)
            for name, one in figures.items():
                found |= {f"{name}/{what}{suffix}": value for what, value in one._asdict().items()}
        return found


def _positions(view: View, games: Games, contexts: Tensor) -> dict[str, Any]:
    """The activations, codes and boards of all positions of some games that end a legal sequence of moves."""
    rows = games.rows(contexts)
    board, valid = games.boards(rows)
    drawn = passed(view, rows[valid])
    assert view.control is not None
    shape = view.batch.x.shape[1:]
    with torch.no_grad():
        random = view.control.model.encode(Batch(drawn.x.unflatten(1, shape))).z
    return {"x": drawn.x, "codes": dense(drawn.z), "random": dense(random), "board": board[valid]}


def _with_empty() -> tuple[str, ...]:
    return tuple(f"{name}-with-empty" for name in Board._fields)


def _check(name: str, found: Mapping[str, Reseeded], count: int) -> Check:
    """A figure between its bounds."""
    mine, chance = found[f"codes/{name}"], found[f"random/{name}"]
    what = (
        "Mean F1 of the best latent of each property of a square"
        if name.startswith("coverage")
        else "Mean F1 of boards predicted by latents of high precision"
    )
    bounds = f"linear probes {found[f'probe/{name}'].mean:.3f}, neurons {found[f'neurons/{name}'].mean:.3f}"
    empty = ", empty squares included" if name.endswith("empty") else ""
    return Check(
        f"board/{name}", mine.mean, "", "info", f"{what}{empty}; {bounds}.", chance.mean, mine.spread, count
    )


def _legal_moves(games: Games, seed: int) -> Check | None:
    """How often the most probable move of the language model is legal; None if the model is not here.

    The spread is over redraws of the games, whose moves depend on each other.
    """
    try:
        language = language_of(games.provenance)
    except NarrowsError:
        return None
    legal, chance, game = games.legal_moves(language.module, language.device)
    right, moves = (
        torch.bincount(game, weights) for weights in (legal.double(), torch.ones(len(game)).double())
    )
    over = spread(lambda rows: float(right[rows].sum() / moves[rows].sum()), len(moves), seed)
    says = "The share of positions in which the most probable move of the language model is legal."
    return Check(
        "board/legal-moves", float(legal.mean()), "", "info", says, float(chance.mean()), over, len(legal)
    )
