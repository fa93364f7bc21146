"""`compare`: several runs on one page, those that are equal but for the seed in one column."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from narrows.audit.evaluations.requests import Evaluations
from narrows.audit.report.compared import Comparison, Measured, compared
from narrows.audit.report.report import Report
from narrows.core import files
from narrows.core.check import RequestError
from narrows.runs.combinations import members
from narrows.runs.cost import Costs
from narrows.runs.loading import load
from narrows.runs.run import Run

__all__ = ["compare", "comparison", "opened"]


def compare(
    runs: Sequence[Run | str | Path],
    out: str | Path = "compare.html",
    progress: Any = None,
    write: bool = False,
    evaluations: Evaluations = (),
    chosen: str = "",
    cost: bool = False,
) -> Path:
    r"""Audit several runs and write one self-contained page that compares them.

    Runs that are equal but for the seed (same method, arguments, data, budget and versions) share a column with their
    mean and standard deviation: the training spread. Two columns are not told apart where

    .. math:: |\bar a - \bar b| \le 2 \sqrt{s_a^2 + s_b^2},

    s being the larger of training spread and evaluation spread (`Check.spread`). Where no spread is known, no number
    is marked as better.

    Args:
        runs: two or more runs, or their folders, or folders of groups and sweeps.
        out: path of the page.
        progress: a `narrows.train.Progress`, or None.
        write: also write audit and report into the folder of each run without one.
        evaluations: further figures, as for `narrows.audit.audit`. Those that ``audit.json`` of a run has already, of
            the same examples, are shown without measuring them again.
        chosen: which run was chosen, and by which figure (`narrows.runs.best.Best.says`); the page shows it.
        cost: also measure what runs cost and how good they are (`narrows.runs.cost.Costs`), and draw one against the
            other.

    Raises:
        RequestError: fewer than two runs, a run twice, or a folder that is not a run.
    """
    from narrows.audit.report.html import compare_page

    page = Path(out)
    found = comparison(runs, progress, write, evaluations, cost)
    page.parent.mkdir(parents=True, exist_ok=True)
    files.write(page, compare_page(found, chosen).encode())
    return page


def comparison(
    runs: Sequence[Run | str | Path],
    progress: Any = None,
    write: bool = False,
    evaluations: Evaluations = (),
    cost: bool = False,
) -> Comparison:
    """Audit several runs, group those that are equal but for the seed, and compare the groups.

    Args:
        runs: as for `compare`.
        progress: as for `compare`.
        write: as for `compare`.
        evaluations: as for `compare`.
        cost: as for `compare`.

    Raises:
        RequestError: as for `compare`.
    """
    groups: dict[tuple[Any, ...], list[Measured]] = {}
    costs = Costs() if cost else None
    for run in opened(runs):
        recipe = json.loads((run.path / "recipe.json").read_text()) | {"run": str(run.path)}
        fresh = write and not (run.path / "audit.json").exists()
        how: dict[str, Any] = {"write": fresh, "features": False, "progress": progress}
        report = _with_kept(run, run.audit(evaluations=evaluations, **how))
        if costs is not None:
            report = replace(report, checks=(*report.checks, *costs(run)))
        groups.setdefault(_key(run, groups), []).append(Measured(recipe, run.metrics, report))
    return compared(list(groups.values()))


def _with_kept(run: Run, report: Report) -> Report:
    """The report with the evaluations of ``audit.json``, if it is newer than the weights and of the same examples."""
    path, weights = run.path / "audit.json", run.path / "model.safetensors"
    try:
        if path.stat().st_mtime_ns < weights.stat().st_mtime_ns:
            return report
        kept = Report.from_json(files.read_json(path))
    except (OSError, ValueError, RequestError):
        return report  # none, or damaged
    same = {name: report.parameters.get(name) for name in ("examples", "seed", "shape", "sha256")}
    if any(kept.parameters.get(name, value) != value for name, value in same.items()):
        return report
    names = {request.partition(":")[0] for request in kept.parameters.get("evaluations", ())}
    known = {check.name for check in report.checks}
    more = [c for c in kept.checks if c.name not in known and c.name.partition("/")[0] in names]
    return replace(report, checks=(*report.checks, *more))


def opened(runs: Iterable[Run | str | Path], least: int = 2, read: Callable[[Path], Run] = load) -> list[Run]:
    """The runs, with those of groups and sweeps instead of their folders.

    Args:
        runs: runs, or folders of runs, groups or sweeps.
        least: the smallest number of runs.
        read: opens a folder, such as `narrows.load`, which also opens dictionaries of other libraries.

    Raises:
        RequestError: too few runs, a run twice, an unfinished group, or a folder that is not a run.
    """
    found: list[Run | Path] = []
    for one in runs:
        inside = None if isinstance(one, Run) else members(Path(one))
        unfinished = [run for run in inside or () if not (run / "result.json").is_file()]
        if unfinished:
            raise RequestError(f"{unfinished[0]} is not finished. Finish it first: narrows resume {one}")
        found += [one if isinstance(one, Run) else Path(one)] if inside is None else inside
    if len(found) < least:
        raise RequestError(f"``runs`` must be at least {_words(least)} runs, but got {len(found)}.")
    paths = [(one.path if isinstance(one, Run) else one).resolve() for one in found]
    twice = next((path for n, path in enumerate(paths) if path in paths[:n]), None)
    if twice is not None:
        raise RequestError(f"{twice} is given twice. Name each run once, by itself or by its group.")
    return [one if isinstance(one, Run) else read(one) for one in found]


def _words(number: int) -> str:
    return {1: "one", 2: "two"}.get(number, str(number))


def _key(run: Run, groups: dict[tuple[Any, ...], list[Measured]]) -> tuple[Any, ...]:
    """The group of a run; an unfinished run, or one with a seed that its group has already, is alone."""
    recipe = run.recipe.without_seed() if (run.path / "result.json").is_file() else None
    if recipe is None:
        return ("alone", str(run.path))
    seeds = [member.recipe["training"]["seed"] for member in groups.get((recipe,), ())]
    return ("alone", str(run.path)) if run.recipe.training["seed"] in seeds else (recipe,)
