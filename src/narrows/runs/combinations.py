"""The combinations of a sweep: checked, named, and written to ``sweep.json``."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from narrows.core import files
from narrows.core.check import RequestError, refuse
from narrows.core.lock import is_empty
from narrows.methods import index
from narrows.runs.recipe import check_options
from narrows.train import Plan

__all__ = ["Combination", "combinations", "members", "renamed", "request"]

_ONE = ("device", "devices", "precision", "strategy", "order_seed", "compile")
"""Fields of the plan that all runs of a sweep share."""


@dataclass(frozen=True)
class Combination:
    """One combination: the name of its run, the fields of the plan that were given, and the whole plan."""

    name: str
    method: str
    given: Mapping[str, Any]
    plan: Plan
    data: Mapping[str, Any]
    options: Mapping[str, Any]


def combinations(
    method: str | None,
    over: Mapping[str, Sequence[Any]],
    settings: Mapping[str, Any],
    data: Mapping[str, Any],
    options: Mapping[str, Any],
) -> list[Combination]:
    """All combinations, checked, before any data are opened or models built."""
    for name, values in over.items():
        if isinstance(values, (str, bytes)) or not isinstance(values, Sequence) or not len(values):
            raise refuse(
                f"over[{name!r}]", values, "a list of one or more values", "Such as ``over={'k': [16, 32]}``."
            )
        if name in _ONE or name in options or name in data or (name == "method" and method is not None):
            raise refuse(
                "over", name, "a name that is not also given for all runs", "Give it in one place only."
            )
    if not over:
        raise refuse("over", over, "at least one name with values", "Such as ``over={'k': [16, 32]}``.")
    if method is None and "method" not in over:
        raise RequestError("No method is given. Pass ``method``, or put method names into ``over``.")
    planned = []
    for values in product(*over.values()):
        chosen = dict(zip(over, values, strict=True))
        run_name = "_".join(f"{k}={_plain(v)}" if k != "method" else _plain(v) for k, v in chosen.items())
        planned.append(_one(run_name, chosen.pop("method", method), chosen, settings, data, options))
    if len({w.name for w in planned}) < len(planned):
        raise refuse("over", dict(over), "distinct values")
    return planned


def _one(
    name: str,
    method: str,
    chosen: Mapping[str, Any],
    settings: Mapping[str, Any],
    data: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Combination:
    """Assign each chosen value to the plan, the method or the data."""
    builder = index.builder(method)
    plan_names, known = {f.name for f in fields(Plan)}, set(_option_names(builder))
    plan, own, data_options = dict(settings), dict(options), dict(data)
    for key, value in chosen.items():
        target = plan if key in plan_names else own if key in known else data_options
        target[key] = value
        if key == "steps":
            plan["epochs"] = None
        elif key == "epochs":
            plan["steps"] = None
    given = {key: value for key, value in plan.items() if value is not None}
    return Combination(name, method, given, Plan(**given), data_options, check_options(builder, own, method))


def renamed(planned: Sequence[Combination], names: Sequence[str]) -> list[Combination]:
    """The combinations with other names of their folders."""
    return [replace(one, name=name) for one, name in zip(planned, names, strict=True)]


def _option_names(builder: Any) -> list[str]:
    return list(inspect.signature(builder).parameters)[1:]


def _plain(value: Any) -> str:
    """A value as part of a folder's name."""
    text = ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
    return re.sub(r"[^A-Za-z0-9.,+-]+", "-", text)


def request(folder: Path, data: Any, planned: Sequence[Combination]) -> bytes | None:
    """The content of ``sweep.json``, compared with an existing one; None if it exists already.

    Args:
        folder: the sweep's folder, which exists and is locked.
        data: the data.
        planned: the combinations.

    Raises:
        RequestError: the folder has other content.
    """
    data_name = str(data) if isinstance(data, (str, Path)) else type(data).__name__
    runs = {
        w.name: {
            "method": w.method,
            "arguments": w.options,
            "data": w.data,
            "training": {k: v for k, v in w.plan.to_json().items() if k != "device"},
        }
        for w in planned
    }
    try:
        content = json.loads(json.dumps({"data": data_name, "runs": runs}, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise RequestError(f"Every value of a sweep must be representable in JSON: {error}.") from error
    path = folder / "sweep.json"
    try:
        if files.without_checksum(files.read_json(path)) == content:
            return None
    except FileNotFoundError:
        pass
    except ValueError as error:
        raise RequestError(
            f"{path} is damaged: {error}. Move it and its runs away, or name another folder."
        ) from error
    else:
        raise RequestError(
            f"{folder} holds another sweep. Name another folder, or repeat the same call to resume it."
        )
    if not is_empty(folder):
        raise RequestError(f"``out`` {folder} exists already and is not a sweep. Name another folder.")
    return (json.dumps(files.with_checksum(content), indent=2) + "\n").encode()


def members(folder: Path) -> list[Path] | None:
    """The run folders of a sweep or a group, from its ``sweep.json``; None for any other folder.

    Args:
        folder: a folder.

    Raises:
        RequestError: the file is damaged.
    """
    path = folder / "sweep.json"
    if not path.is_file():
        return None
    try:
        names = list(files.without_checksum(files.read_json(path))["runs"])
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{path} is damaged: {error}. Name its runs instead.") from error
    if any(Path(name).name != name for name in names):
        raise RequestError(f"{path} is damaged: a run is not a folder in it. Name its runs instead.")
    return [folder / name for name in names]
