"""The page of a tournament: the answer, quality against cost, the rungs, and what was compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from narrows.audit.report.finding import Chart, Series
from narrows.audit.report.html import Card, drawn, page_of
from narrows.audit.report.pareto import front
from narrows.audit.report.report import shown
from narrows.core import files
from narrows.tournament.goals import Goal
from narrows.tournament.policy import Task, members
from narrows.tournament.verdict import Entry, Verdict

if TYPE_CHECKING:
    from narrows.tournament.choose import Tournament

__all__ = ["answer", "write_page"]


class Place(NamedTuple):
    """A candidate in a rung."""

    name: str
    says: str
    score: str
    promoted: bool


def answer(goal: Goal, data: str, entries: Sequence[Entry], verdict: Verdict) -> str:
    """The answer in a few sentences."""
    winner, best = verdict.winner, verdict.best
    what = "baseline" if winner.role == "baseline" else "run"
    told = f"To {goal.name} {data}: the {what} `{winner.name}`"
    told += "" if winner.role == "baseline" else f", {winner.says}"
    told += f". Its {goal.figure} is {_with_spread(winner)}."
    if winner is not best:
        told += (
            f" `{best.name}` has {_with_spread(best)}, which these rows do not tell apart, and costs more."
        )
    runs = [e for e in entries if e.role != "baseline"]
    if winner.role == "baseline" and runs[0] is not best:
        told += f" The best run, `{runs[0].name}`, {runs[0].says}, has {_with_spread(runs[0])}."
    baselines = [e for e in entries if e.role == "baseline" and e is not winner]
    if baselines:
        told += " Baselines: " + ", ".join(f"{e.name} {shown(e.value)}" for e in baselines) + "."
    searched = [e for e in entries if e.role == "random search"]
    if (
        searched
        and winner.role != "random search"
        and not (runs[0] in searched and winner.role == "baseline")
    ):
        told += f" Random search at equal cost: {shown(min(e.value for e in searched))}."
    return told


def _with_spread(entry: Entry) -> str:
    return f"{shown(entry.value)} ± {entry.spread:.2g}"


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
    plan, end = journal.plan or {}, next(iter(journal.of("end")), {})
    schedule, winner = journal.schedule, verdict.winner
    run = winner if winner.role != "baseline" else next(e for e in entries if e.role != "baseline")
    page = tournament.folder / "choose.html"
    content = page_of(
        "choose.html",
        title=f"A method to {goal.name} {source.name}",
        says=says.split("`"),
        goal=goal,
        cards=_cards(goal, entries, verdict, tournament.request.budget, end),
        charts=[drawn(chart) for chart in (_pareto(goal, entries), _climb(tournament)) if chart],
        entries=[(entry, _mark(entry, verdict), _with_spread(entry)) for entry in entries],
        details=list(dict.fromkeys(name for entry in entries for name in entry.details)),
        seconds=_seconds,
        rungs=[(rung, _places(tournament, k)) for k, rung in enumerate(schedule.rungs)],
        searched=_searched(tournament),
        failed=_failed(tournament),
        use=goal.use.format(run=f"{tournament.folder}/runs/{run.name}"),
        facts=_facts(tournament, plan, end),
    )
    files.write(page, content.encode())
    return page


def _cards(
    goal: Goal, entries: Sequence[Entry], verdict: Verdict, budget: float, end: dict[str, Any]
) -> list[Card]:
    held = [("Chosen", verdict.winner)]
    for label, role in (
        ("Tournament", "tournament"),
        ("Random search", "random search"),
        ("Baseline", "baseline"),
    ):
        found = [entry for entry in entries if entry.role == role and entry is not verdict.winner]
        held += [(label, found[0])] if found else []
    cards = [
        Card(f"{label}: {entry.name}", shown(entry.value), f"± {entry.spread:.2g}", "info")
        for label, entry in held
    ]
    return [*cards, Card("Time", _seconds(end.get("seconds", math.nan)), f"of {_seconds(budget)}", "info")]


def _mark(entry: Entry, verdict: Verdict) -> str:
    if entry is verdict.winner:
        return "chosen"
    return "not told apart from the best" if entry.name in verdict.level else ""


def _seconds(seconds: float) -> str:
    """A time as it is said.

    Example:
        >>> _seconds(0.042), _seconds(12.3), _seconds(600)
        ('0.042 s', '12 s', '10 min')
    """
    if math.isnan(seconds):
        return "unknown"
    if seconds < 10:
        return f"{seconds:.2g} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.3g} min"


def _pareto(goal: Goal, entries: Sequence[Entry]) -> Chart | None:
    """Score against the seconds of training, with the front."""
    best = front([(entry.cost, entry.value) for entry in entries])
    best.append((1.05 * max(entry.cost for entry in entries), best[-1][1]))
    series = [Series("Pareto front", tuple(y for _, y in best), tuple(x for x, _ in best), 0)]
    for tone, role in enumerate(("tournament", "random search", "baseline"), 1):
        series += [Series(role, (e.value,), (e.cost,), tone) for e in entries if e.role == role]
    says = "On rows that the tournament never saw. Lower is better for both; none beats those on the line in both."
    return Chart(
        "pareto", "Quality against cost", says, "lines", tuple(series), "seconds of training", goal.figure
    )


def _climb(tournament: Tournament) -> Chart | None:
    """The scores over the rungs."""
    schedule, scores = tournament.journal.schedule, tournament.journal.scores
    series = []
    for n in range(schedule.candidates):
        path = [
            (schedule.steps(k), scores[Task(n, k)])
            for k in range(len(schedule.rungs))
            if Task(n, k) in scores
        ]
        path = [(x, y) for x, y in path if math.isfinite(y)]
        if path:
            tone, name = (
                (n % 6 + 1, tournament.all[n].name) if len(path) == len(schedule.rungs) else (0, "stopped")
            )
            series.append(Series(name, tuple(y for _, y in path), tuple(float(x) for x, _ in path), tone))
    if not series:
        return None
    says = "Candidates of the tournament, on the rows that judge the rungs. A line ends where a candidate was stopped."
    series.sort(key=lambda one: one.tone)
    return Chart(
        "rungs", "Scores over the rungs", says, "lines", tuple(series), "steps", tournament.goal.figure
    )


def _places(tournament: Tournament, rung: int) -> list[Place]:
    """The candidates of a rung by their scores."""
    schedule, scores = tournament.journal.schedule, tournament.journal.scores
    held = members(schedule, scores, rung) or ()
    last = rung == schedule.last
    after = () if last else members(schedule, scores, rung + 1) or ()
    order = sorted(held, key=lambda n: (scores[Task(n, rung)], n))
    return [
        Place(tournament.all[n].name, tournament.all[n].says, _score(scores[Task(n, rung)]), n in after)
        for n in order
    ]


def _searched(tournament: Tournament) -> list[Place]:
    """The candidates of random search."""
    schedule, scores = tournament.journal.schedule, tournament.journal.scores
    drawn = enumerate(tournament.all[schedule.candidates :], schedule.candidates)
    return [Place(one.name, one.says, _score(scores[Task(n, schedule.last)]), False) for n, one in drawn]


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


def _facts(tournament: Tournament, plan: dict[str, Any], end: dict[str, Any]) -> list[tuple[str, str]]:
    """How the tournament was made, as pairs."""
    journal, setting = tournament.journal, tournament.request.setting
    schedule = journal.schedule
    facts = [
        ("data", str(setting["data"])),
        ("options of the data", ", ".join(f"{k}={v}" for k, v in setting["options"].items()) or "none"),
        ("candidates", str(schedule.candidates)),
        ("steps of the first rung", f"{schedule.first:,}"),
        ("one in how many is promoted", str(schedule.eta)),
        ("steps of all rungs", f"{schedule.cost:,}"),
        ("runs of random search", f"{schedule.searched} of {schedule.rungs[-1].steps:,} steps"),
        ("workers", str(plan.get("workers"))),
        ("candidates whose price was measured", str(len(journal.prices))),
        ("seconds until the plan", f"{plan.get('spent', 0):g}"),
        ("seed", str(setting["seed"])),
    ]
    if setting["width"]:
        facts.append(("dimensions of all codes", str(setting["width"])))
    if end.get("continued"):
        facts.append(("interrupted", "yes: the time is that of the last command"))
    return facts
