"""The page of a tournament: the answer, quality against cost, the rungs, and what was compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from narrows.audit.report.finding import Check
from narrows.audit.report.html import Card, Drawn, page_of
from narrows.audit.report.report import shown, with_spread
from narrows.core import files
from narrows.tournament import drawings
from narrows.tournament.drawings import told_seconds
from narrows.tournament.policy import Task, members
from narrows.tournament.verdict import Entry, Verdict

if TYPE_CHECKING:
    from narrows.tournament.tournament import Tournament

__all__ = ["answer", "told_score", "write_page"]


class Place(NamedTuple):
    """A candidate in a rung."""

    name: str
    says: str
    score: str
    promoted: bool


def answer(tournament: Tournament, entries: Sequence[Entry], verdict: Verdict) -> str:
    """The answer in a few sentences."""
    goal, data = tournament.goal, tournament.request.source.name
    winner, best = verdict.winner, verdict.best
    runs = [e for e in entries if e.role != "baseline"]
    named = f"the baseline `{winner.name}`"
    if winner.role != "baseline":
        named = f"`{winner.name}`, {winner.says}"
    told = f"To {goal.name} {data}, choose {named}: {goal.figure} {told_score(winner, verdict)}."
    if winner is not best:
        told += (
            f" `{best.name}` has {told_score(best, verdict)}: the difference is within the spread, and its "
            f"training takes {told_seconds(best.cost)} instead of {told_seconds(winner.cost)}."
        )
    if winner.role == "baseline" and runs[0] is not best:
        told += f" The best run, `{runs[0].name}`, {runs[0].says}, has {told_score(runs[0], verdict)}."
    baselines = [e for e in entries if e.role == "baseline" and e is not winner]
    if baselines:
        told += " Baselines: " + ", ".join(f"{e.name} {told_score(e, verdict)}" for e in baselines) + "."
    searched = [e for e in entries if e.role == "random search"]
    if searched and winner is not searched[0] and best is not searched[0] and runs[0] is not searched[0]:
        told += f" Random search at equal cost: {told_score(searched[0], verdict)}."
    return told


def told_score(entry: Entry, verdict: Verdict) -> str:
    """A score with its spread, rounded to the size of the spread."""
    spread = verdict.spread(entry)
    return with_spread(Check("", entry.value, spread=spread if spread > 1e-12 else None))


def write_page(tournament: Tournament, entries: Sequence[Entry], verdict: Verdict, says: str) -> Path:
    """Write ``choose.html`` into the folder of a tournament.

    Args:
        tournament: with all of its records.
        entries: what was scored on fresh rows, the best first.
        verdict: the outcome.
        says: the answer.

    Raises:
        WorkError: Jinja2 is not installed.
    """
    journal, goal, source = tournament.journal, tournament.goal, tournament.request.source
    schedule, winner = journal.schedule, verdict.winner
    run = winner if winner.role != "baseline" else next(e for e in entries if e.role != "baseline")
    page = tournament.folder / "choose.html"
    content = page_of(
        "choose.html",
        title=f"A method to {goal.name} {source.name}",
        says=says.split("`"),
        goal=goal,
        cards=_cards(tournament, entries, verdict),
        charts=[
            chart
            for chart in (drawings.drawn_cost(goal.figure, entries, verdict), _climb(tournament))
            if chart
        ],
        entries=[(entry, _mark(entry, verdict), told_score(entry, verdict)) for entry in entries],
        details=list(dict.fromkeys(name for entry in entries for name in entry.details)),
        seconds=told_seconds,
        seed_spread=None if verdict.seed_variance is None else math.sqrt(verdict.seed_variance),
        rungs=[(steps, _places(tournament, k)) for k, steps in enumerate(schedule.steps)],
        searched=_searched(tournament),
        failed=_failed(tournament),
        stopped=[tournament.all[n].name for n in journal.stopped],
        use=goal.use.format(run=f"{tournament.folder}/runs/{run.name}"),
        facts=_facts(tournament),
    )
    files.write(page, content.encode())
    return page


def _cards(tournament: Tournament, entries: Sequence[Entry], verdict: Verdict) -> list[Card]:
    held = [("Chosen", verdict.winner)]
    for label, role in (
        ("Tournament", "tournament"),
        ("Random search", "random search"),
        ("Baseline", "baseline"),
    ):
        found = [entry for entry in entries if entry.role == role and entry is not verdict.winner]
        held += [(label, found[0])] if found else []
    cards = []
    for label, entry in held:
        value, _, spread = told_score(entry, verdict).partition(" ± ")
        cards.append(Card(f"{label}: {entry.name}", value, f"± {spread}" if spread else "", "info"))
    budget = tournament.request.budget
    return [
        *cards,
        Card("Time", told_seconds(tournament.journal.spent), f"of {told_seconds(budget)}", "info"),
    ]


def _mark(entry: Entry, verdict: Verdict) -> str:
    if entry is verdict.winner:
        return "chosen"
    return "not told apart from the best" if entry.name in verdict.level else ""


def _climb(tournament: Tournament) -> Drawn | None:
    """The scores over the rungs."""
    schedule, scores = tournament.journal.schedule, tournament.journal.scores
    names = [one.name for one in tournament.all]
    paths: dict[int, list[tuple[int, float]]] = {}
    for task, score in sorted(scores.items()):
        if math.isfinite(score):
            paths.setdefault(task.candidate, []).append((schedule.steps[task.rung], score))
    top = len(schedule.steps) - 1
    drawn = [
        drawings.Path(names[n] if Task(n, top) in scores else "", *zip(*path, strict=True))
        for n, path in paths.items()
    ]
    n = sum(number < schedule.candidates for number in paths)
    return drawings.drawn_steps(tournament.goal.figure, drawn[:n], drawn[n:])


def _places(tournament: Tournament, rung: int) -> list[Place]:
    """The candidates of a rung by their scores."""
    schedule, scores = tournament.journal.schedule, tournament.journal.scores
    held = members(schedule, scores, rung) or ()
    after = members(schedule, scores, rung + 1) or () if rung + 1 < len(schedule.steps) else ()
    held = tuple(n for n in held if Task(n, rung) in scores)
    order = sorted(held, key=lambda n: (scores[Task(n, rung)], n))
    return [
        Place(tournament.all[n].name, tournament.all[n].says, _score(scores[Task(n, rung)]), n in after)
        for n in order
    ]


def _searched(tournament: Tournament) -> list[Place]:
    """Random search, and trainings with other seeds."""
    schedule, scores = tournament.journal.schedule, tournament.journal.scores
    drawn = enumerate(tournament.all[schedule.candidates :], schedule.candidates)
    tasks = [(Task(n, schedule.last), one) for n, one in drawn]
    return [Place(one.name, one.says, _score(scores[task]), False) for task, one in tasks if task in scores]


def _score(value: float) -> str:
    return shown(value) if math.isfinite(value) else "failed"


def _failed(tournament: Tournament) -> list[tuple[str, str]]:
    """What failed, and why."""
    found = []
    for record in tournament.journal.records:
        if "failed" in record:
            n = record.get("candidate")
            pool = tournament.pool if record["event"] == "price" else tournament.all
            found.append((record["name"] if n is None else pool[n].name, record["failed"]))
    return found


def _facts(tournament: Tournament) -> list[tuple[str, str]]:
    """How the tournament was made, as pairs."""
    journal, setting = tournament.journal, tournament.request.setting
    schedule, plans = journal.schedule, journal.of("plan")
    facts = [
        ("data", str(setting["data"])),
        ("options of the data", ", ".join(f"{k}={v}" for k, v in setting["options"].items()) or "none"),
        ("candidates", str(schedule.candidates)),
        ("steps of the rungs", ", ".join(f"{steps:,}" for steps in schedule.steps)),
        ("one in how many is promoted", str(schedule.eta)),
        ("steps of all rungs together", f"{schedule.cost:,}"),
        (
            "random search",
            f"{schedule.searched} runs of {schedule.steps[-1]:,} steps" if schedule.complete else "none",
        ),
        ("trainings with other seeds", str(schedule.repeats)),
        ("workers", str(plans[-1]["workers"])),
        ("candidates whose price was measured", str(len(journal.prices))),
        ("time until the first rung", told_seconds(plans[0]["at"])),
        ("seed", str(setting["seed"])),
    ]
    if setting["width"]:
        facts.append(("dimensions of all codes", str(setting["width"])))
    if any(record["continued"] for record in journal.of("end")):
        facts.append(("interrupted", "yes: the time is that of all its commands"))
    return facts
