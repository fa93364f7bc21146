"""What a worker does: price, train and judge a candidate, or judge a baseline. Jobs and results are JSON objects."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from narrows import data as nd
from narrows.core import files
from narrows.core.check import NarrowsError, WorkError
from narrows.core.progress import Silent
from narrows.data import Dataset, Source
from narrows.runs.fit import fit, resume
from narrows.runs.loading import load
from narrows.runs.run import Run
from narrows.tournament.exam import Exam
from narrows.tournament.goals import GOALS
from narrows.tournament.goals.detect import judged_rows
from narrows.tournament.goals.goal import REDRAWS, Judged
from narrows.train import Plan, validation_part
from narrows.train.checkpoint import newest

__all__ = ["Job", "exam", "judging_rows", "perform", "source_of"]

Job = Mapping[str, Any]
"""What is to be done: ``do``, the tournament's ``setting``, and a candidate with its folder, its steps and the seconds
after which its training is stopped."""

SEEDS = 3
"""Seeds of a baseline that draws random numbers."""

_JUDGED, _FRESH, _LEARNED = 1000, 2000, 20_000
_WARM, _TIMED = 10, 30
"""Steps before a step is timed, and those that are timed."""

_CHECKPOINT, _EVERY = 5.0, 10
"""Seconds between two checkpoints, the last of which is judged if a training is stopped; steps between two looks at the
clock."""


class _TimeIsOver(Exception):
    """The time of a training is over."""


class _Until(Silent):
    """A progress display that shows nothing, and ends a training when its time is over."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def advance(self, done: int, metrics: Mapping[str, float] | None = None) -> None:
        if time.monotonic() > self.end:
            raise _TimeIsOver


def perform(job: Job) -> dict[str, Any]:
    """Do a job; the result has ``failed``, a sentence, if it could not be done."""
    started = time.monotonic()
    try:
        found = _DOES[job["do"]](job)
    except _TimeIsOver:
        found = {"stopped": True}
    except NarrowsError as error:
        found = {"failed": str(error)}
    except Exception as error:  # one candidate of many: the tournament goes on without it
        found = {"failed": f"{type(error).__name__}: {error}"}
    return found | {"seconds": round(time.monotonic() - started, 3)}


def judging_rows(rows: int) -> int:
    """The number of training rows that judge the rungs, of all training rows."""
    return min(_JUDGED, max(10, rows // 5))


@lru_cache(maxsize=3)
def _opened(data: str, kind: Any, options: str) -> Source:
    return nd.open(data, kinds=(kind,), **json.loads(options))


def source_of(setting: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> Source:
    """The data of a tournament.

    Args:
        setting: of the tournament: ``data``, ``reads`` and ``options``.
        more: options of a candidate.
    """
    varied = {name: value for name, value in (more or {}).items() if value != "auto"}
    return _opened(
        setting["data"], setting["reads"], json.dumps({**varied, **setting["options"]}, sort_keys=True)
    )


def exam(setting: Mapping[str, Any], part: str) -> Exam:
    """The rows that judge the rungs, or with ``fresh`` those that no rung has seen: rows of the test split."""
    return _exam(json.dumps(setting, sort_keys=True), part)


@lru_cache(maxsize=2)
def _exam(form: str, part: str) -> Exam:
    setting = json.loads(form)
    source = source_of(setting)
    train, rows = validation_part(source.train, Plan(**_split(setting, len(source.train))))
    if part == "fresh":
        rows = _some(source.test, _FRESH)
    found = Exam(source, _some(train, _LEARNED), rows, setting["seed"], setting["width"])
    return judged_rows(found) if setting["goal"] == "detect" else found


def _split(setting: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """The fields of the plan that keep the judging rows from training; the same for all candidates."""
    return {"validation": judging_rows(rows), "order_seed": setting["seed"]}


def _some(data: Dataset, most: int) -> Dataset:
    """At most some rows, drawn with a fixed seed; of data on disk the first."""
    if len(data) <= most:
        return data
    if data.mapped:
        return data.take(most)
    drawn = torch.randperm(len(data), generator=torch.Generator().manual_seed(len(data)))
    return data.rows(drawn[:most].sort().values)


def _trained(job: Job, steps: int) -> Run:
    """The run of a candidate, trained for a number of steps in total; continued from its last checkpoint."""
    folder, one = Path(job["folder"]), job["candidate"]
    source = source_of(job["setting"], one["data"])
    progress = _Until(job.get("limit", math.inf))
    if (folder / "recipe.json").is_file():
        if _steps(folder) == steps and (folder / "result.json").is_file():
            return _loaded(folder, source)
        return resume(folder, steps=steps, data=source, progress=progress)
    return fit(
        source,
        one["method"],
        folder,
        steps=steps,
        seed=job["seed"],
        device="cpu",
        progress=progress,
        training={
            **_split(job["setting"], len(source.train)),
            **one["training"],
            "checkpoint_seconds": _CHECKPOINT,
            "log_every": _EVERY,
        },
        **one["options"],
    )


def _steps(folder: Path) -> int | None:
    found = files.read_json(folder / "recipe.json")["training"]["steps"]
    return None if found is None else int(found)


def _loaded(folder: Path, source: Source) -> Run:
    run = load(folder)
    return Run(folder, run.recipe, run.model, source)


def _judged(job: Job, run: Run, part: str, redraws: int = 0) -> Judged:
    goal, rows = GOALS[job["setting"]["goal"]], exam(job["setting"], part)
    run.model.eval()
    return goal.judge(rows, goal.answer(run, rows), redraws)


def _price(job: Job) -> dict[str, Any]:
    """The seconds of a step and of a task besides its steps, from a first short training."""
    folder = Path(job["folder"])
    if folder.is_dir():
        shutil.rmtree(folder)
    exam(job["setting"], "judging")
    _trained(job, _WARM)
    before, started = _seconds(folder), time.monotonic()
    run = _trained(job, _WARM + _TIMED)
    step = max(1e-6, (_seconds(folder) - before) / _TIMED)
    judging = time.monotonic()
    _judged(job, run, "judging")
    ended = time.monotonic()
    return {
        "step": round(step, 7),
        "task": round(max(0.0, ended - started - _TIMED * step), 4),
        "judging": round(ended - judging, 4),
        "parameters": run.parameters,
    }


def _seconds(folder: Path) -> float:
    try:
        return float(files.read_json(folder / "result.json")["seconds"])
    except FileNotFoundError:
        return 0.0


def _train(job: Job) -> dict[str, Any]:
    """The score after some steps, and the price that they have shown."""
    folder = Path(job["folder"])
    before, started = _seconds(folder), time.monotonic()
    run = _trained(job, job["steps"])
    trained, judging = max(0.0, _seconds(folder) - before), time.monotonic()
    value = _judged(job, run, "judging").value
    ended = time.monotonic()
    return {
        "value": value,
        "timed": job["more"],
        "step": round(max(1e-6, trained / job["more"]), 7),
        "task": round(max(0.0, ended - started - trained), 4),
        "judging": round(ended - judging, 4),
    }


def _final(job: Job) -> dict[str, Any]:
    """The score on fresh rows, with its spread and all details."""
    folder = Path(job["folder"])
    finished = (folder / "result.json").is_file()
    checkpoint = None if finished else newest(folder / "state")[0]
    steps = _steps(folder) if finished else checkpoint and int(checkpoint.metadata["at"])
    if not steps:
        raise WorkError("Its training was stopped before its first checkpoint: the budget was over.")
    run = _loaded(folder, source_of(job["setting"], job["candidate"]["data"]))
    return _form(_judged(job, run, "fresh", REDRAWS)) | {"steps": steps}


def _baseline(job: Job) -> dict[str, Any]:
    """The score of a baseline on fresh rows, of one that draws random numbers with several seeds."""
    goal, rows = GOALS[job["setting"]["goal"]], exam(job["setting"], "fresh")
    found, cost, started = [], 0.0, time.monotonic()
    for k in range(SEEDS if job["name"] in goal.drawn else 1):
        before = time.monotonic()
        answer = goal.baselines[job["name"]](replace(rows, seed=rows.seed + k))
        cost = max(cost, time.monotonic() - before)
        found.append(goal.judge(rows, answer, REDRAWS))
    judging = (time.monotonic() - started) / len(found) - cost
    return {
        **_form(found[0]),
        "again": [_form(one) for one in found[1:]],
        "cost": round(cost, 3),
        "judging": round(max(0.0, judging), 4),
    }


def _form(found: Judged) -> dict[str, Any]:
    return {"value": found.value, "redrawn": list(found.redrawn), "details": dict(found.details)}


_DOES: dict[str, Callable[[Job], dict[str, Any]]] = {
    "price": _price,
    "train": _train,
    "final": _final,
    "baseline": _baseline,
}
