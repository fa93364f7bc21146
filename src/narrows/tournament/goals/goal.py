"""`Goal`: by which figure candidates are judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from narrows.audit.evidence.reseeds import redrawn
from narrows.tournament.exam import Exam, Kind

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["REDRAWS", "Goal", "Judged"]

REDRAWS = 50
"""How often the rows are redrawn for the spread of a score."""


@dataclass(frozen=True)
class Judged:
    """The score of a candidate; lower is better.

    Args:
        value: the score.
        redrawn: the score of redrawn rows, the same for all candidates, so that they can be compared in pairs.
        details: further figures by name.
    """

    value: float
    redrawn: tuple[float, ...] = ()
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Goal:
    """What a representation is for, and how it is judged.

    Args:
        name: as on the command line.
        figure: the name of the score, in a few words.
        says: what the score is, in a sentence.
        kinds: the kinds of data that it is defined for.
        answer: what a run makes of the rows: imputed cells, reconstructions, samples, anomaly scores or bits.
        score: the score of an answer on the rows with these numbers.
        details: further figures of an answer.
        baselines: trivial methods by name, each from an exam to an answer.
        use: the command that uses the winner, with ``{run}`` for its folder.
        drawn: the names of the baselines that depend on the seed.
    """

    name: str
    figure: str
    says: str
    kinds: tuple[Kind, ...]
    answer: Callable[[Run, Exam], Tensor]
    score: Callable[[Exam, Tensor, Tensor], float]
    details: Callable[[Exam, Tensor], Mapping[str, float]]
    baselines: Mapping[str, Callable[[Exam], Tensor]]
    use: str
    drawn: tuple[str, ...] = ()

    def judge(self, exam: Exam, answer: Tensor, redraws: int = 0) -> Judged:
        """The score of an answer.

        Args:
            exam: the rows.
            answer: of a run or a baseline.
            redraws: how often the rows are redrawn; 0 for the score alone.
        """
        n = len(exam.known)
        value = self.score(exam, answer, torch.arange(n))
        if not redraws:
            return Judged(value)
        again = tuple(self.score(exam, answer, redrawn(n, seed)) for seed in range(redraws))
        return Judged(value, again, self.details(exam, answer))
