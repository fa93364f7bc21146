"""A tournament in its folder: what is done next, and what is recorded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from narrows.core.check import RequestError, WorkError
from narrows.core.progress import Silent
from narrows.tournament.candidates import Candidate, candidates, draw_order
from narrows.tournament.exam import kind_of
from narrows.tournament.executor import Executor, drive
from narrows.tournament.goals import GOALS
from narrows.tournament.journal import Journal
from narrows.tournament.planning import SIZES, Field, Price, first_rung, following, longest_first, prices_of
from narrows.tournament.policy import Schedule, members, repeated, sources
from narrows.tournament.request import Request
from narrows.tournament.verdict import Entry, Role, Verdict, decide
from narrows.tournament.work import Job

__all__ = ["Tournament"]

_PRICING, _ENOUGH = 0.15, 9
"""The share of the budget for prices, and how many are measured before the time tells whether more are worth it."""

_SAFETY = 1.1
"""The factor on planned seconds."""

_BETWEEN, _LATE = 20, 0.05
"""Steps after which a training notices that its time is over, and the share of the budget that they may take."""

_PAGE = 1.5
"""Seconds that are kept for the page, beside a hundredth of the budget."""

_FINALS = 12
"""The most runs that get a last score, for which time is kept."""


class Tournament:
    """A tournament in its folder.

    Args:
        folder: locked.
        request: what is asked for.
        journal: its records so far.
        clock: the seconds since this command began.
        shown: shows the progress.
    """

    def __init__(
        self, folder: Path, request: Request, journal: Journal, clock: Callable[[], float], shown: Silent
    ) -> None:
        self.folder, self.request, self.journal = folder, request, journal
        self.clock, self.shown, self.before, self.workers = clock, shown, journal.spent, 1
        self.goal = GOALS[request.setting["goal"]]
        kind = kind_of(request.source)
        assert kind is not None
        seed = int(request.setting["seed"])
        self.pool = candidates(self.goal.name, kind, max(SIZES), seed, request.setting["width"])

    def run(self, executor: Executor) -> None:
        """Continue to the end, within the budget."""
        if self.journal.of("end"):
            return
        continued, self.workers = bool(self.journal.records), executor.workers
        with executor:
            if not self.journal.of("plan"):
                drive(executor, self._to_price, self._record, partial(self._left, self._end))
                self._begin()
            while not self._over():
                schedule = self.journal.schedule
                done = len(self.journal.scores)
                self.shown.begin(self._title(schedule), done + len(self._to_train()), done, "trainings")
                unfinished = drive(
                    executor, self._to_train, self._trained, partial(self._left, self._last_moment)
                )
                for task in sorted(unfinished):
                    self._add("stopped", candidate=task.candidate, rung=task.rung)
                if not self._over():
                    self._continue()
            self.shown.note("Scoring on fresh rows")
            # what was interrupted is judged even if its time is over
            drive(
                executor, self._to_judge, self._record, None if continued else partial(self._left, self._end)
            )
        self._add("end", continued=continued)

    # time

    @property
    def elapsed(self) -> float:
        """Seconds of the budget that are over, those of interrupted commands too."""
        return self.before + self.clock()

    def _left(self, end: Callable[[], float]) -> float:
        return end() - self.elapsed

    def _end(self) -> float:
        """When the last score must be there."""
        return 0.99 * self.request.budget - _PAGE

    def _last_moment(self) -> float:
        """When trainings that do not end by themselves are stopped, and their processes ended."""
        return self._end() - self._judging(_FINALS)

    def _training_end(self) -> float:
        """When trainings end by themselves: some steps, and a score on the rows of the rungs, still follow."""
        steps = min(_BETWEEN * self._slowest("step"), _LATE * self.request.budget)
        return self._last_moment() - self._slowest("judging") - steps

    def _judging(self, runs: int) -> float:
        """The seconds of the last scores: of twice the rows, with redraws, which the baselines have shown."""
        rounds = math.ceil(runs / self.workers)
        return _SAFETY * rounds * (2 * self._slowest("judging") + self._slowest("judging", "baseline"))

    def _slowest(self, name: str, *events: str) -> float:
        known = [
            r[name] for event in events or ("price", "score") for r in self.journal.of(event) if name in r
        ]
        return max(known, default=0.0)

    def _add(self, event: str, **fields: Any) -> None:
        self.journal.add(event, at=round(self.elapsed, 2), **fields)

    # prices

    def _job(self, do: str, number: int, **more: Any) -> Job:
        one, seed = self.all[number], int(self.request.setting["seed"])
        field = self.journal.field
        seed += max(0, number - len(field["order"]) + 1) if field else 0
        return {
            "do": do,
            "setting": self.request.setting,
            "candidate": one.to_json(),
            "folder": str((self.folder / "runs" / one.name).resolve()),
            "seed": seed,
            **more,
        }

    def _baselines(self) -> dict[Any, Job]:
        known = {r["name"] for r in self.journal.of("baseline")}
        return {
            ("baseline", name): {"do": "baseline", "setting": self.request.setting, "name": name}
            for name in self.goal.baselines
            if name not in known
        }

    def _to_price(self) -> dict[Any, Job]:
        priced = {r["candidate"] for r in self.journal.of("price")}
        known = len(self.journal.prices)
        left = [n for n in range(len(self.pool)) if n not in priced]
        late = self.elapsed > _PRICING * self.request.budget and known >= min(SIZES)
        if late or (known >= _ENOUGH and not self._worth_more()):
            left = []
        return self._baselines() | {("price", n): self._job("price", n) for n in left}

    def _worth_more(self) -> bool:
        """Whether more candidates than are priced could have a long last rung."""
        more = min(n for n in SIZES if n > _ENOUGH)
        prices = [*self.journal.prices.values()]
        found, _ = self._first([*prices, *prices[: max(0, more - len(prices))]])
        return found is not None and found.candidates >= more

    def _record(self, key: Any, result: Mapping[str, Any]) -> None:
        event, which = key
        self._add(event, **{"name" if event == "baseline" else "candidate": which}, **result)
        if event == "price":
            self.shown.note(f"Measured the price of {len(self.journal.prices)} candidates")

    # plans

    def _first(self, prices: Sequence[Price]) -> tuple[Schedule | None, float]:
        drawn = draw_order(len(prices), int(self.request.setting["seed"]))
        return first_rung(prices, Field(drawn, self.workers), self._left(self._training_end) / _SAFETY)

    def _begin(self) -> None:
        """Record who takes part, and the steps of the first rung."""
        prices, budget = self.journal.prices, self.request.budget
        if len(prices) < min(SIZES):
            if self._left(self._end) <= 0:
                self.journal.discard()
                raise RequestError(
                    f"A ``budget`` of {budget:g} seconds is too small: it was over before the steps of "
                    f"{min(SIZES)} candidates were timed. Give several times as much."
                )
            told = next(
                (r["failed"] for r in self.journal.of("price") if "failed" in r), "too few candidates"
            )
            raise WorkError(f"The candidates cannot be trained on these data. The first said: {told}")
        order = sorted(prices)
        schedule, least = self._first([prices[n] for n in order])
        if schedule is None:
            kept = self.elapsed - self._training_end() + budget
            self.journal.discard()
            raise refused_budget(budget, kept + _SAFETY * least)
        n = schedule.candidates
        drawn = [int(one) for one in draw_order(len(order), int(self.request.setting["seed"])) if one < n]
        self._add("field", order=order[:n], drawn=drawn)
        self._plan(schedule)

    def _plan(self, schedule: Schedule, seconds: float | None = None) -> None:
        recorded = {"candidates": schedule.candidates, "steps": schedule.steps, "repeats": schedule.repeats}
        self._add("plan", **recorded, seconds=seconds, workers=self.workers)

    def _continue(self) -> None:
        """Record the next rung, or more trainings with other seeds, or that nothing more ends in time."""
        journal, seconds = self.journal, self._left(self._training_end) / _SAFETY
        prices = prices_of(journal.measured)
        found = following(journal.schedule, journal.scores, prices, self._field, round(seconds, 2))
        if found is None:
            self._add("trained", seconds=round(seconds, 2))
        else:
            self._plan(found, round(seconds, 2))

    @property
    def _field(self) -> Field:
        recorded = self.journal.field
        assert recorded is not None
        return Field(recorded["drawn"], self.workers)

    def _over(self) -> bool:
        return bool(self.journal.stopped or self.journal.of("trained"))

    # trainings

    @property
    def all(self) -> tuple[Candidate, ...]:
        """By number: candidates, those of random search, and the best with other seeds; before the plan, the pool."""
        field = self.journal.field
        if field is None:
            return self.pool
        schedule, scores = self.journal.schedule, self.journal.scores
        owner = sources(schedule, scores, field["drawn"])
        found = [self.pool[n] for n in field["order"]]
        found += [
            replace(found[owner[n]], name=f"search-{k}-{found[owner[n]].method}")
            for k, n in enumerate(schedule.trained, 1)
        ]
        again = repeated(schedule, scores)
        for k, one in enumerate(again):
            seed = 2 + again[:k].count(one)
            found.append(replace(found[one], name=f"{found[one].name}-seed-{seed}"))
        return tuple(found)

    def _to_train(self) -> dict[Any, Job]:
        schedule, scores = self.journal.schedule, self.journal.scores
        if self.journal.stopped:
            return {}
        return {
            task: self._job(
                "train",
                task.candidate,
                steps=schedule.steps[task.rung],
                more=schedule.more(task),
                limit=round(max(0.0, self._left(self._training_end)), 2),
            )
            for task in longest_first(schedule, scores, prices_of(self.journal.measured), self._field)
        }

    def _trained(self, key: Any, result: Mapping[str, Any]) -> None:
        event = "stopped" if "stopped" in result else "score"
        self._add(event, candidate=key.candidate, rung=key.rung, **result)
        best = min(self.journal.scores.values(), default=math.nan)
        self.shown.advance(len(self.journal.scores), {"best score": best})

    @staticmethod
    def _title(schedule: Schedule) -> str:
        if schedule.repeats:
            return "Other seeds"
        return f"Rung {len(schedule.steps)} of {len(schedule.sizes)}"

    # the end

    @property
    def finalists(self) -> tuple[int, ...]:
        """Those of the last two rungs, of random search and with other seeds, without those that failed.

        Of a first rung that was stopped, some of the best.
        """
        schedule, scores, stopped = self.journal.schedule, self.journal.scores, self.journal.stopped
        known = {task.candidate: score for task, score in sorted(scores.items())}
        rung = max(0, len(schedule.steps) - 2)
        held = (*(members(schedule, scores, rung) or ()), *schedule.trained)
        alive = [n for n in held if known.get(n, math.inf) < math.inf or n in stopped]
        alive += [n for n in schedule.again if known.get(n, math.inf) < math.inf]
        return tuple(sorted(alive, key=lambda n: (known.get(n, math.inf), n))[:_FINALS])

    def _to_judge(self) -> dict[Any, Job]:
        known = {r["candidate"] for r in self.journal.of("final")}
        left = {("final", n): self._job("final", n) for n in self.finalists if n not in known}
        return self._baselines() | left

    def entries(self) -> tuple[list[Entry], Verdict]:
        """All that have a score on fresh rows, the best first, and who wins.

        Raises:
            WorkError: every candidate failed.
        """
        journal, field = self.journal, self.journal.field
        assert field is not None
        schedule, again = journal.schedule, repeated(journal.schedule, journal.scores)
        owner = sources(schedule, journal.scores, field["drawn"])
        prices, parameters = prices_of(journal.measured), {r["candidate"]: r for r in journal.of("price")}
        final = {r["candidate"]: r for r in journal.of("final") if "failed" not in r}
        found = []
        for n in sorted(final):
            if n in schedule.again:
                continue
            others = [final[m] for m, one in zip(schedule.again, again) if one == n and m in final]
            cost = final[n]["steps"] * prices[owner[n]].step
            pool = parameters[field["order"][owner[n]]]
            role: Role = "tournament" if n < schedule.candidates else "random search"
            one = self.all[n]
            found.append(Entry.of(one.name, one.says, role, [final[n], *others], cost, pool["parameters"]))
        for record in journal.of("baseline"):
            if "failed" not in record:
                forms = [record, *record["again"]]
                found.append(Entry.of(record["name"], record["name"], "baseline", forms, record["cost"]))
        found.sort(key=lambda entry: (entry.value, entry.cost))
        verdict = decide(found)
        if verdict is None or all(entry.role == "baseline" for entry in found):
            told = [r["failed"] for r in journal.records if "failed" in r]
            raise WorkError(f"Every candidate failed. The first said: {told[0] if told else 'nothing'}")
        return found, verdict


def refused_budget(budget: float, needed: float) -> RequestError:
    """The error for a budget that is too small for one rung."""
    return RequestError(
        f"A ``budget`` of {budget:g} seconds is too small for one rung: the smallest that would do on this machine is "
        f"about {int(1.1 * needed) + 1}s."
    )
