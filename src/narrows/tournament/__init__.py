"""Tournaments: a fair choice of method, size and preprocessing for data and a goal, within a budget of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from narrows.core.lazy import lazily

if TYPE_CHECKING:
    from narrows.tournament.choosing import Chosen as Chosen
    from narrows.tournament.choosing import choose as choose

_HOMES = {"Chosen": "choosing", "choose": "choosing"}

__all__ = [*_HOMES]

__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
