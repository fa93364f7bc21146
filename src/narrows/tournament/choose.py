"""`choose`: which method, size and preprocessing suit some data and a goal, within a budget of time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from narrows.core import files
from narrows.core.check import RequestError, WorkError, choice, whole
from narrows.core.lock import Lock
from narrows.core.progress import Progress, Silent
from narrows.runs.loading import load
from narrows.runs.run import Run
from narrows.tournament.candidates import Candidate, candidates, draw_order
from narrows.tournament.exam import kind_of
from narrows.tournament.executor import Executor, drive
from narrows.tournament.goals import GOALS
from narrows.tournament.journal import Journal
from narrows.tournament.policy import SIZES, Task, members, plan, ready, with_search
from narrows.tournament.processes import Processes
from narrows.tournament.request import Request, checked, folder_of
from narrows.tournament.verdict import Entry, Verdict, decide
from narrows.tournament.work import Job

__all__ = ["Chosen", "choose"]

_PRICING, _KEPT, _SAFETY = 0.15, 0.2, 1.15
"""The share of the budget for prices, that for the last scores and the page, and the factor on planned seconds."""

_FINAL = 3.0
"""The seconds of a last score, over those of a score in a rung: twice the rows, and redraws."""


@dataclass(frozen=True)
class Chosen:
    """The outcome of a tournament.

    Args:
        folder: of the tournament, with the runs of all candidates in ``runs``.
        page: the page, ``choose.html``.
        verdict: the best and the winner.
        entries: all that were scored on fresh rows, the best first.
        says: the answer in a sentence or two.
    """

    folder: Path
    page: Path
    verdict: Verdict
    entries: tuple[Entry, ...]
    says: str

    @cached_property
    def run(self) -> Run:
        """The winner's run; if a baseline has won, the run with the best score."""
        held = [entry for entry in self.entries if entry.role != "baseline"]
        name = self.verdict.winner.name if self.verdict.winner.role != "baseline" else held[0].name
        return load(self.folder / "runs" / name)


def choose(
    data: Any,
    goal: str,
    budget: str | float = "10m",
    out: str | Path | None = None,
    *,
    workers: int = 2,
    ray: str | None = None,
    seed: int = 0,
    latent: int | None = None,
    progress: bool | Silent = True,
    data_options: Mapping[str, Any] | None = None,
) -> Chosen:
    r"""Choose a method, its size and the preprocessing by a tournament; continue an interrupted one.

    Successive halving: n candidates are trained for r steps each, one in three for 3 r, one in nine for 9 r ..., by
    their scores on training rows that no candidate is trained on. Beside it, random search at equal cost, and
    baselines. The last ones are scored on rows of the test split; the cheapest that these do not tell apart from the
    best wins. The seconds of a step of each candidate are measured first, and n and r follow from them and the budget.
    From then on decisions depend on scores alone.

    Args:
        data: a name, a path, an array (N, ...) of numbers, or a data frame.
        goal: ``reconstruct``, ``impute``, ``generate``, ``detect`` or ``compress``.
        budget: wall time: seconds, or a text such as ``10m``; a fifth of it is kept for the last scores and the page.
        out: the folder; ``runs/choose-<data>-<goal>`` if None. The same call continues or shows what it holds.
        workers: how many candidates are trained at once, in processes with one thread each.
        ray: address of a Ray cluster that trains them instead, such as ``10.0.0.1:6379``; the folder must be on a file
            system that its machines share.
        seed: of candidates, initialisation, order and noise.
        latent: for ``reconstruct`` the dimensions of all codes; by default half of those of an example, at most 16.
        progress: show a progress bar on stderr.
        data_options: as for `narrows.fit`; with ``missing`` the share of cells that is hidden to judge imputation,
            0.2 by default.

    Returns:
        The outcome.

    Raises:
        RequestError: an argument is invalid, the budget is too small for one rung, or `out` holds something else.
        WorkError: a worker ended, or every candidate failed.
    """
    began = time.monotonic()
    choice("goal", goal, tuple(GOALS))
    whole("workers", workers, high=1024)
    shown = progress if isinstance(progress, Silent) else Progress() if progress else Silent()
    folder = folder_of(data, goal, out)
    made = [path for path in (folder, *folder.parents) if not path.is_dir()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"The folder {folder} cannot be created: {error.strerror or error}.") from error
    try:
        with Lock(folder):
            files.remove_temporary_files(folder)
            Journal.check(folder)
            executor: Executor = Processes(workers, folder / "workers.log")
            if ray is not None:
                from narrows.tournament.on_ray import OnRay

                executor = OnRay(ray, workers)
            request = checked(data, goal, budget, folder, seed, latent, dict(data_options or {}))
            journal = Journal(folder, request.to_json())
            tournament = Tournament(folder, request, journal, began, shown)
            with shown:
                return tournament.run(executor)
    finally:
        with suppress(OSError):  # only if nothing was written
            for path in made:
                path.rmdir()


class Tournament:
    """A tournament in its folder.

    Args:
        folder: locked.
        request: what is asked for.
        journal: its records so far.
        began: when the command began, by the monotonic clock.
        shown: shows the progress.
    """

    def __init__(self, folder: Path, request: Request, journal: Journal, began: float, shown: Silent) -> None:
        self.folder, self.request, self.journal, self.began, self.shown = (
            folder,
            request,
            journal,
            began,
            shown,
        )
        self.goal = GOALS[request.setting["goal"]]
        kind = kind_of(request.source)
        assert kind is not None
        seed = int(request.setting["seed"])
        self.pool = candidates(self.goal.name, kind, max(SIZES), seed, request.setting["width"])

    @property
    def elapsed(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self.began

    def run(self, executor: Executor) -> Chosen:
        """Continue to the end."""
        if not self.journal.of("end"):
            continued = bool(self.journal.records)
            with executor:
                if self.journal.plan is None:
                    drive(executor, self._to_price, self._record)
                    self._plan(executor.workers)
                self.shown.begin(
                    "Training candidates", self._tasks, len(self.journal.of("score")), "trainings"
                )
                drive(executor, self._to_train, self._trained)
                drive(executor, self._to_judge, self._record)
            self.journal.add("end", seconds=round(self.elapsed, 1), continued=continued)
        return self._outcome()

    def _job(self, do: str, number: int, **more: Any) -> Job:
        one, seed = self.all[number], int(self.request.setting["seed"])
        seed += max(0, number - len(self.field) + 1) if self.journal.plan is not None else 0
        return {
            "do": do,
            "setting": self.request.setting,
            "candidate": one.to_json(),
            "folder": str((self.folder / "runs" / one.name).resolve()),
            "seed": seed,
            **more,
        }

    # prices

    def _baselines(self) -> dict[Any, Job]:
        known = {r["name"] for r in self.journal.of("baseline")}
        return {
            ("baseline", name): {"do": "baseline", "setting": self.request.setting, "name": name}
            for name in self.goal.baselines
            if name not in known
        }

    def _to_price(self) -> dict[Any, Job]:
        priced = {r["candidate"] for r in self.journal.of("price")}
        left = [n for n in range(len(self.pool)) if n not in priced]
        if self.elapsed > _PRICING * self.request.budget and len(self.journal.prices) >= min(SIZES):
            left = []
        return self._baselines() | {("price", n): self._job("price", n) for n in left}

    def _record(self, key: Any, result: Mapping[str, Any]) -> None:
        event, which = key
        self.journal.add(event, **{"name" if event == "baseline" else "candidate": which}, **result)
        if event == "price":
            self.shown.note(f"Measured the price of {len(self.journal.prices)} candidates")

    def _plan(self, workers: int) -> None:
        """Record n and r from the prices and the budget."""
        prices, budget = self.journal.prices, self.request.budget
        if len(prices) < min(SIZES):
            told = next(
                (r["failed"] for r in self.journal.of("price") if "failed" in r), "too few candidates"
            )
            raise WorkError(f"The candidates cannot be trained on these data. The first said: {told}")
        order = sorted(prices)
        judging = max(r["judging"] for r in self.journal.of("price") if "failed" not in r)
        kept = max(_KEPT * budget, _SAFETY * _FINAL * judging * 8 / workers)
        drawn, held = draw_order(len(order), int(self.request.setting["seed"])), [prices[n] for n in order]
        schedule, least = plan(held, drawn, (budget - kept - self.elapsed) / _SAFETY, workers)
        if schedule is None:
            needed = max(
                (self.elapsed + _SAFETY * least) / (1 - _KEPT), self.elapsed + _SAFETY * least + kept
            )
            self.journal.discard()
            raise refused_budget(budget, needed)
        self.journal.add(
            "plan",
            candidates=schedule.candidates,
            first=schedule.first,
            order=order,
            drawn=list(drawn),
            workers=workers,
            spent=round(self.elapsed, 1),
        )

    # the tournament

    @property
    def field(self) -> tuple[Candidate, ...]:
        """The candidates that take part, by number."""
        recorded = self.journal.plan
        assert recorded is not None
        return tuple(self.pool[n] for n in recorded["order"][: recorded["candidates"]])

    @property
    def all(self) -> tuple[Candidate, ...]:
        """The candidates, followed by those of random search; before the plan, all that could take part."""
        recorded = self.journal.plan
        if recorded is None:
            return self.pool
        both = with_search(self.journal.schedule, self.field, recorded["drawn"])
        n = len(self.field)
        return self.field + tuple(
            Candidate(f"search-{k}-{one.method}", one.method, one.options, one.data, one.training)
            for k, one in enumerate(both[n:], 1)
        )

    @property
    def _tasks(self) -> int:
        schedule = self.journal.schedule
        return sum(rung.size for rung in schedule.rungs) + schedule.searched

    def _to_train(self) -> dict[Any, Job]:
        schedule = self.journal.schedule
        return {
            task: self._job("train", task.candidate, steps=schedule.steps(task.rung))
            for task in ready(schedule, self.journal.scores)
        }

    def _trained(self, key: Any, result: Mapping[str, Any]) -> None:
        self.journal.add("score", candidate=key.candidate, rung=key.rung, **result)
        best = min(self.journal.scores.values())
        self.shown.advance(len(self.journal.of("score")), {"best score": best})

    @property
    def finalists(self) -> tuple[int, ...]:
        """The candidates of the last two rungs and of random search, without those that failed."""
        schedule, scores = self.journal.schedule, self.journal.scores
        rung = max(0, schedule.last - 1)
        held = members(schedule, scores, rung) or ()
        found = [n for n in held if scores[Task(n, rung)] < float("inf")]
        drawn = range(schedule.candidates, len(self.all))
        return tuple(found) + tuple(n for n in drawn if scores[Task(n, schedule.last)] < float("inf"))

    def _to_judge(self) -> dict[Any, Job]:
        known = {r["candidate"] for r in self.journal.of("final")}
        left = {("final", n): self._job("final", n) for n in self.finalists if n not in known}
        return self._baselines() | left

    # the outcome

    def entries(self) -> list[Entry]:
        """All that have a score on fresh rows, the best first."""
        schedule, priced = self.journal.schedule, {r["candidate"]: r for r in self.journal.of("price")}
        recorded = self.journal.plan
        assert recorded is not None
        sources = with_search(schedule, recorded["order"], recorded["drawn"])
        found = []
        for record in self.journal.of("final"):
            n = record["candidate"]
            if "failed" in record:
                continue
            rung = max(task.rung for task in self.journal.scores if task.candidate == n)
            one, price = self.all[n], priced[sources[n]]
            steps = schedule.steps(rung)
            role: Any = "tournament" if n < schedule.candidates else "random search"
            scored = record["value"], tuple(record["redrawn"]), steps * price["step"]
            found.append(
                Entry(one.name, one.says, role, *scored, steps, record["details"], price["parameters"])
            )
        for record in self.journal.of("baseline"):
            if "failed" not in record:
                scored = record["value"], tuple(record["redrawn"]), record["cost"]
                found.append(Entry(record["name"], record["name"], "baseline", *scored, 0, record["details"]))
        return sorted(found, key=lambda entry: (entry.value, entry.cost))

    def _outcome(self) -> Chosen:
        from narrows.tournament.page import answer, write_page

        entries = self.entries()
        verdict = decide(entries)
        if verdict is None or all(entry.role == "baseline" for entry in entries):
            told = [r["failed"] for r in self.journal.records if "failed" in r]
            raise WorkError(f"Every candidate failed. The first said: {told[0] if told else 'nothing'}")
        says = answer(self.goal, self.request.source.name, entries, verdict)
        page = write_page(self, entries, verdict, says)
        return Chosen(self.folder, page, verdict, tuple(entries), says)


def refused_budget(budget: float, needed: float) -> RequestError:
    """The error for a budget that is too small for one rung."""
    return RequestError(
        f"A ``budget`` of {budget:g} seconds is too small for one rung: the smallest that would do on this machine is "
        f"about {int(1.1 * needed) + 1}s."
    )
