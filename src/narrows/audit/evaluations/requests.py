"""Which evaluations are requested, with which options and in which time; parsed before anything is measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from narrows.audit.evaluations import EVALUATIONS
from narrows.audit.evaluations.evaluation import Evaluation
from narrows.core.check import number, refuse

__all__ = ["Evaluations", "Request", "read_budget", "requested"]

Evaluations: TypeAlias = str | Evaluation | Sequence[str | Evaluation]
"""Evaluations as a user names them: ``probing:k=5,splice``, a list of such texts, or evaluations themselves."""

ALL = "all"

_UNITS = {"s": 1, "m": 60, "h": 3600}


class Request(NamedTuple):
    """An evaluation that is to be run."""

    name: str
    text: str
    """As it was typed."""
    evaluation: Evaluation


def requested(wanted: Evaluations) -> list[Request]:
    """The requested evaluations, cheapest first.

    In a text, names are separated by commas. A piece with ``=`` and without an earlier ``:`` is an option of the name
    before it: ``probing:labels=names,k=5,splice`` are two evaluations. ``all`` stands for every evaluation that is not
    named itself.

    Raises:
        RequestError: an unknown name or option, a name that occurs twice, or no name.
    """
    listed = [wanted] if isinstance(wanted, (str, Evaluation)) else list(wanted)
    found: dict[str, Request] = {}
    every = False
    for one in listed:
        for piece in _pieces(one) if isinstance(one, str) else [one]:
            if piece == ALL:
                every = True
                continue
            request = _request(piece)
            if request.name in found:
                raise refuse(
                    "evaluations", request.text, "each evaluation once", "Name it with all its options."
                )
            found[request.name] = request
    if every:
        found |= {name: _request(name) for name in EVALUATIONS.parts if name not in found}
    if not found and not every:
        raise refuse(
            "evaluations", wanted, f"`{ALL}` or names such as `{next(iter(EVALUATIONS.parts), ALL)}`"
        )
    return sorted(found.values(), key=lambda request: request.evaluation.seconds)


def _request(piece: str | Evaluation) -> Request:
    """One evaluation, constructed, so that wrong options are refused before anything is measured."""
    if isinstance(piece, str):
        spelled = EVALUATIONS.read(piece)
        return Request(spelled.name, piece, spelled.make())
    evaluation = EVALUATIONS.checked(piece)
    name = next((n for n in EVALUATIONS.parts if EVALUATIONS.constructor(n) is type(evaluation)), "")
    return Request(name or type(evaluation).__name__.lower(), repr(evaluation), evaluation)


def _pieces(text: str) -> list[str]:
    """The evaluations of a text.

    Example:
        >>> _pieces("a, b:labels=x,k=5 ,c")
        ['a', 'b:labels=x,k=5', 'c']
    """
    found: list[str] = []
    for part in (piece.strip() for piece in text.split(",")):
        if not part:
            continue
        name, equals, _ = part.partition("=")
        if equals and ":" not in name:
            if not found:
                raise refuse("evaluations", text, "a name, then its options", "Write NAME:OPTION=VALUE.")
            found[-1] += ("," if ":" in found[-1] else ":") + part
        else:
            found.append(part)
    return found


def read_budget(value: Any) -> float:
    """A time in seconds: a number, or a text such as ``5m``, ``90s``, ``1h30m`` or ``300``.

    Raises:
        RequestError: the value is not a positive time.

    Example:
        >>> read_budget("5m"), read_budget("1m30s"), read_budget(20)
        (300.0, 90.0, 20.0)
    """
    expected = "a time such as 5m, 90s or 300 (seconds), more than 0"
    if isinstance(value, str):
        parts = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", value.strip().lower())
        if not parts or "".join(a + b for a, b in parts) != value.strip().lower():
            raise refuse("budget", value, expected)
        if len(parts) > 1 and not all(unit for _, unit in parts):
            raise refuse("budget", value, expected)
        value = sum(float(amount) * _UNITS[unit or "s"] for amount, unit in parts)
    seconds = number("budget", value, low=0)
    if seconds == 0:
        raise refuse("budget", value, expected)
    return seconds
