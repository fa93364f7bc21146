"""The request of a tournament, checked: data, goal, budget, folder."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from narrows import data as nd
from narrows.core import files
from narrows.core.check import RequestError, choice, fraction, number, optional, refuse, whole
from narrows.core.spec import Kind
from narrows.data import Source
from narrows.data.readers.frames import is_frame
from narrows.runs.fingerprint import fingerprint
from narrows.runs.reports import name_of
from narrows.tournament.exam import kind_of
from narrows.tournament.goals import GOALS
from narrows.tournament.work import judging_rows

__all__ = ["Request", "checked", "folder_of", "seconds_of"]

_HIDDEN = 0.2
"""The share of cells that is hidden to judge imputation, if none is given."""

_LEAST = 100
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(budget: str | float) -> float:
    """A budget of time in seconds.

    Args:
        budget: seconds, or a text such as ``90s``, ``10m`` or ``1h30m``.

    Raises:
        RequestError: it is none.

    Example:
        >>> seconds_of("10m"), seconds_of("1h30m"), seconds_of(45)
        (600.0, 5400.0, 45.0)
    """
    found = 0.0
    if isinstance(budget, str):
        text = budget.strip().lower()
        if re.fullmatch(r"(\d+(\.\d+)?[hms])+", text):
            found = sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"([\d.]+)([hms])", text))
        elif re.fullmatch(r"\d+(\.\d+)?", text):
            found = float(text)
    else:
        found = number("budget", budget)
    if not 0 < found <= 1e7:
        raise refuse("budget", budget, "a time such as 90s, 10m or 1h30m")
    return found


@dataclass(frozen=True)
class Request:
    """A checked request.

    Args:
        source: the data with their default scaling.
        setting: what workers need: data, how to read them, goal, seed, width of the codes.
        budget: seconds.
    """

    source: Source
    setting: Mapping[str, Any]
    budget: float

    def to_json(self) -> dict[str, Any]:
        """What must be equal for a tournament to be continued."""
        return {**self.setting, "budget": self.budget, "fingerprint": fingerprint(self.source)}


def folder_of(data: Any, goal: str, out: str | Path | None) -> Path:
    """The folder of a tournament: always the same for the same data and goal, so that the same command continues it."""
    return Path("runs") / f"choose-{name_of(data) or 'data'}-{goal}" if out is None else Path(out)


def checked(
    data: Any,
    goal: str,
    budget: str | float,
    folder: Path,
    seed: int,
    latent: int | None,
    options: dict[str, Any],
) -> Request:
    """Check a request and open its data.

    Args:
        data: a name, a path, an array or a data frame; the last two are written into the folder, for the workers.
        goal: the goal.
        budget: a time.
        folder: of the tournament, which exists.
        seed: of everything.
        latent: dimensions of all codes, if the goal is to reconstruct.
        options: of the data.

    Raises:
        RequestError: an argument is invalid, or the data suit no candidate.
    """
    seconds = seconds_of(budget)
    kinds = GOALS[choice("goal", goal, tuple(GOALS))].kinds
    whole("seed", seed, low=0)
    if latent is not None and goal != "reconstruct":
        raise refuse("latent", latent, "left out: only for reconstruct do all codes have one width")
    if goal == "impute":
        options = {"missing": _HIDDEN, **options}
        fraction("missing", options["missing"])
    what = _stored(data, folder)
    reads: tuple[Kind, ...] = ("array", "table", "series") if "series" in kinds else ("table",)
    source = nd.open(what, kinds=reads, **{name: v for name, v in options.items() if name != "missing"})
    kind = kind_of(source)
    if kind not in kinds:
        raise _another_kind(goal, kinds, source)
    if goal == "detect" and source.test.always and source.spec.classes != 2:
        raise RequestError(
            f"The windows of `{source.name}` come with {' and '.join(source.test.always)}, and among such no anomalies "
            "are planted: ``detect`` needs labels of two classes (``labels``)."
        )
    rows = len(source.train) - judging_rows(len(source.train))
    if rows < _LEAST:
        raise RequestError(
            f"`{source.name}` has {len(source.train)} training rows, too few for a tournament: at least "
            f"{5 * _LEAST // 4} are needed, of which a fifth judges the candidates. Fit one method: narrows fit."
        )
    elements = int(np.prod(source.spec.shape))
    width = 0 if goal != "reconstruct" else latent or max(1, min(16, elements // 2))
    whole("latent", max(1, width), high=10_000)
    setting = {
        "data": what,
        "reads": source.spec.kind,
        "options": options,
        "goal": goal,
        "seed": seed,
        "width": width,
    }
    return Request(source, setting, seconds)


def _another_kind(goal: str, kinds: Sequence[str], source: Source) -> RequestError:
    """The error for data that a goal is not for."""
    spec = source.spec
    if spec.kind == "graph":
        return RequestError(
            f"`{source.name}` is a graph, and ``choose`` does not know graphs yet. Compare methods by: narrows sweep."
        )
    if spec.kind == "series" and "series" in kinds:
        window = min(64, spec.shape[0])
        return RequestError(
            f"The series of `{source.name}` have several lengths, and ``choose`` reads windows of one length. Cut them "
            f"with ``window`` and ``stride``, such as {window} and {max(1, window // 4)}."
        )
    reading = " or ".join("series" if one == "series" else f"{one}s" for one in kinds)
    return RequestError(
        f"``goal={goal!r}`` is for {reading}, and the examples of `{source.name}` are of another kind "
        f"({spec.kind}, of shape {tuple(spec.shape)}). Compare methods for them by: narrows sweep."
    )


def _stored(data: Any, folder: Path) -> str:
    """The name or path of the data; arrays and frames are written once."""
    if isinstance(data, Path) or (isinstance(data, str) and Path(data).exists()):
        return str(Path(data).expanduser().resolve())
    if isinstance(data, str):
        return data
    content = io.BytesIO()
    if isinstance(data, np.ndarray) and data.dtype.kind in "fiub":
        np.save(content, data, allow_pickle=False)
        return _written(folder / "data.npy", content.getvalue())
    if is_frame(data):
        pyarrow = optional("pyarrow", "tables", "write the data frame for the workers")
        parquet = optional("pyarrow.parquet", "tables", "write the data frame for the workers")
        parquet.write_table(pyarrow.table(data), content)
        return _written(folder / "data.parquet", content.getvalue())
    raise refuse("data", data, "a name, a path, an array of numbers or a data frame")


def _written(path: Path, content: bytes) -> str:
    if not path.is_file():
        files.write(path, content)
    elif path.read_bytes() != content:
        raise RequestError(f"{path.parent} holds a tournament on other data. Name another folder.")
    return str(path.resolve())
