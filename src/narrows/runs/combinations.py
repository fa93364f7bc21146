"""What a sweep is asked for: every combination of some values, checked, named, and kept."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

from narrows.core import files
from narrows.core.check import RequestError, refuse
from narrows.core.lock import is_empty
from narrows.methods import index
from narrows.runs.recipe import check_options
from narrows.train import Plan

__all__ = ["Wanted", "combinations", "request"]

_ONE = ("device", "devices", "precision", "strategy", "order_seed", "compile")
"""Fields of the plan that all runs of a sweep have in common."""


@dataclass(frozen=True)
class Wanted:
    """One combination: the name of its run, and what it is made of; of the plan what was said, and the rest beside."""

    name: str
    method: str
    said: Mapping[str, Any]
    plan: Plan
    data: Mapping[str, Any]
    options: Mapping[str, Any]


def combinations(
    method: str | None,
    over: Mapping[str, Sequence[Any]],
    settings: Mapping[str, Any],
    data: Mapping[str, Any],
    options: Mapping[str, Any],
) -> list[Wanted]:
    """All combinations, checked; nothing is opened or built yet."""
    for name, values in over.items():
        if isinstance(values, (str, bytes)) or not isinstance(values, Sequence) or not len(values):
            raise refuse(
                f"over[{name!r}]", values, "a list of one or more values", "Such as ``over={'k': [16, 32]}``."
            )
        if name in _ONE or name in options or name in data or (name == "method" and method is not None):
            raise refuse(
                "over", name, "a name that is not given for all runs already", "Say it in one place."
            )
    if not over:
        raise refuse("over", over, "at least one name with its values", "Such as ``over={'k': [16, 32]}``.")
    if method is None and "method" not in over:
        raise RequestError("Say what to fit: ``method``, or a method in ``over``.")
    wanted = []
    for values in product(*over.values()):
        chosen = dict(zip(over, values, strict=True))
        called = "_".join(f"{k}={_plain(v)}" if k != "method" else _plain(v) for k, v in chosen.items())
        wanted.append(_one(called, chosen.pop("method", method), chosen, settings, data, options))
    if len({w.name for w in wanted}) < len(wanted):
        raise refuse("over", dict(over), "values that differ")
    return wanted


def _one(
    name: str,
    method: str,
    chosen: Mapping[str, Any],
    settings: Mapping[str, Any],
    data: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Wanted:
    """Hand each chosen value to the plan, to the method or to the data."""
    builder = index.builder(method)
    plan_names, known = {f.name for f in fields(Plan)}, set(_option_names(builder))
    plan, own, opened = dict(settings), dict(options), dict(data)
    for key, value in chosen.items():
        place = plan if key in plan_names else own if key in known else opened
        place[key] = value
        if key == "steps":
            plan["epochs"] = None
        elif key == "epochs":
            plan["steps"] = None
    said = {key: value for key, value in plan.items() if value is not None}
    return Wanted(name, method, said, Plan(**said), opened, check_options(builder, own, method))


def _option_names(builder: Any) -> list[str]:
    return list(inspect.signature(builder).parameters)[1:]


def _plain(value: Any) -> str:
    """A value as a part of a folder's name."""
    text = ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
    return re.sub(r"[^A-Za-z0-9.,+-]+", "-", text)


def request(folder: Path, data: Any, wanted: Sequence[Wanted]) -> bytes | None:
    """What is asked for as ``sweep.json`` keeps it, held to what was asked for before; None where it is kept already.

    Args:
        folder: of the sweep, which is there and locked.
        data: what is fitted.
        wanted: the combinations.

    Raises:
        RequestError: the folder holds something else.
    """
    what = str(data) if isinstance(data, (str, Path)) else type(data).__name__
    runs = {
        w.name: {
            "method": w.method,
            "arguments": w.options,
            "data": w.data,
            "training": {k: v for k, v in w.plan.to_json().items() if k != "device"},
        }
        for w in wanted
    }
    try:
        asked = json.loads(json.dumps({"data": what, "runs": runs}, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise RequestError(
            f"A sweep must be able to keep every value, and it cannot keep one: {error}."
        ) from error
    path = folder / "sweep.json"
    try:
        if files.without_checksum(files.read_json(path)) == asked:
            return None
    except FileNotFoundError:
        pass
    except ValueError as error:
        raise RequestError(
            f"{path} is damaged: {error}. Move it away with the runs beside it, or name another folder."
        ) from error
    else:
        raise RequestError(
            f"{folder} holds another sweep. Name another folder, or ask for the same to go on."
        )
    if not is_empty(folder):
        raise RequestError(f"``out`` {folder} exists already and is no sweep. Name another folder.")
    return (json.dumps(files.with_checksum(asked), indent=2) + "\n").encode()
