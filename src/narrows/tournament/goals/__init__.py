"""The goals of a tournament, by name."""

from __future__ import annotations

from narrows.tournament.goals.compress import COMPRESS
from narrows.tournament.goals.detect import DETECT
from narrows.tournament.goals.generate import GENERATE
from narrows.tournament.goals.goal import Goal
from narrows.tournament.goals.tables import IMPUTE, RECONSTRUCT

__all__ = ["GOALS", "Goal"]

GOALS: dict[str, Goal] = {goal.name: goal for goal in (RECONSTRUCT, IMPUTE, GENERATE, DETECT, COMPRESS)}
