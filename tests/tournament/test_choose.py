"""Tournaments on small data: decisions, interruptions, bad requests, the page."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from narrows.cli.main import run as narrows
from narrows.core.check import RequestError, WorkError
from narrows.core.lock import Lock
from narrows.core.progress import Silent
from narrows.runs.loading import load
from narrows.tournament import choose, processes
from narrows.tournament.choosing import outcome
from narrows.tournament.executor import drive
from narrows.tournament.journal import Journal
from narrows.tournament.planning import Field, following, prices_of
from narrows.tournament.policy import Schedule, Task, finalists, members
from narrows.tournament.request import checked, seconds_of
from narrows.tournament.tournament import Tournament
from narrows.tournament.work import perform

TIMES = {"step": 0.6, "task": 0.1, "judging": 0.5}


class Here:
    """An executor in this process, for tests, whose times are fixed; it stops after some jobs, as if it was killed."""

    workers = 2

    def __init__(self, jobs=10**9, hangs=()):
        self.left, self.hangs, self.held, self.stops = jobs, hangs, [], 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, key, job):
        self.held.append((key, job))

    def wait(self, seconds=None):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        key, job = self.held.pop()
        if key in self.hangs:
            return None
        found = perform(job)
        return key, found | {name: value for name, value in TIMES.items() if name in found}

    def stop(self):
        self.held.clear()
        self.stops += 1


def planned(folder, data, goal="impute", budget="60s", clock=lambda: 0.0):
    """A tournament of three candidates with a recorded first rung."""
    folder.mkdir(exist_ok=True)
    request = checked(data, goal, budget, folder, 0, None, {})
    journal = Journal(folder, request.to_json())
    if not journal.of("plan"):
        for number in range(3):
            journal.add("price", at=1.0, candidate=number, parameters=10, seconds=0.1, **TIMES)
        journal.add("field", at=1.0, order=[0, 1, 2], drawn=[0, 1, 2])
        journal.add("plan", at=1.0, candidates=3, steps=[12], repeats=0, seconds=None, workers=2)
    return Tournament(folder, request, journal, clock, Silent())


def decisions(journal):
    scores = sorted((r["candidate"], r["rung"], r["value"]) for r in journal.of("score"))
    plans = [(r["steps"], r["repeats"]) for r in journal.of("plan")]
    return scores, plans, sorted((r["candidate"], r["value"]) for r in journal.of("final"))


def follow_from_records(journal):
    """Whether each plan is what follows from the records before it."""
    records, held = journal.records, []
    for number, record in enumerate(records):
        if record["event"] in ("plan", "trained") and held:
            journal.records = records[:number]
            field = Field(journal.field["drawn"], held[-1]["workers"])
            prices = prices_of(journal.measured)
            found = following(journal.schedule, journal.scores, prices, field, record["seconds"])
            wanted = record["event"] == "plan" and Schedule(3, tuple(record["steps"]), record["repeats"])
            assert (found or False) == wanted
        held += [record] if record["event"] == "plan" else []
    journal.records = records
    return len(held)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished tournament, trained in this process."""
    folder = tmp_path_factory.mktemp("whole")
    draws = np.random.default_rng(0)
    x = draws.normal(10.0, 3.0, 400)
    lines = [
        f"{a:.2f},{2 * a + b:.2f},{'high' if a > 10 else 'low'}" for a, b in zip(x, draws.normal(0, 0.5, 400))
    ]
    table = folder / "people.csv"
    table.write_text("\n".join(["x,w,level", *lines]) + "\n")
    tournament = planned(folder / "out", table)
    tournament.run(Here())
    return table, folder / "out", outcome(tournament), tournament


def test_rungs_and_seeds_are_planned_from_what_was_recorded(whole):
    journal = whole[3].journal
    assert follow_from_records(journal) >= 3
    assert len(journal.schedule.steps) == 2
    assert journal.schedule.repeats >= 2
    first, second = finalists(journal.schedule, journal.scores)[:2]
    seeds = {e.name: len(e.seeds) for e in whole[2].entries}
    assert min(seeds[whole[3].all[n].name] for n in (first, second)) >= 2
    assert whole[2].verdict.seed_variance > 0


def test_promotion_continues_the_run_exactly(whole, tmp_path):
    _, out, _, tournament = whole
    schedule = tournament.journal.schedule
    (best,) = members(schedule, tournament.journal.scores, 1)
    one, steps = tournament.all[best], schedule.steps[1]
    job = tournament._job("train", best, steps=steps, more=steps)
    once = perform({**job, "folder": str(tmp_path / "once")})
    assert once["value"] == tournament.journal.scores[Task(best, 1)]
    assert (tmp_path / "once" / "model.safetensors").read_bytes() == (
        out / "runs" / one.name / "model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_tournament_that_was_stopped_between_jobs_decides_the_same(whole, tmp_path, jobs):
    table, _, _, tournament = whole
    with pytest.raises(KeyboardInterrupt):
        planned(tmp_path / "out", table).run(Here(jobs))
    again = planned(tmp_path / "out", table)
    again.run(Here())
    assert decisions(again.journal) == decisions(tournament.journal)


def test_what_would_overrun_is_stopped_and_the_page_has_what_is_there(whole, tmp_path):
    """Trainings end by themselves when their time is over, and are judged at their last checkpoint."""
    table = whole[0]
    over = planned(tmp_path / "out", table, clock=lambda: 50.0 * (len(over.journal.of("plan")) > 1))
    over.run(Here())
    assert len(over.journal.stopped) == 2
    assert len(over.journal.scores) == 3
    (best,) = members(over.journal.schedule, over.journal.scores, 1)
    found = {e.name: e for e in outcome(over).entries}
    assert found[over.all[best].name].steps == 12  # of the rung before, whose checkpoint is the last
    assert "search-1-vae" not in found  # it had no checkpoint after its first
    page = (tmp_path / "out" / "choose.html").read_text()
    assert "search-1-vae" in page
    assert "before its first checkpoint" in page


def test_an_interrupted_tournament_whose_time_is_over_is_judged(whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        planned(tmp_path / "out", whole[0]).run(Here(3))
    late = planned(tmp_path / "out", whole[0], clock=lambda: 100.0)
    late.run(Here())
    assert len(late.journal.scores) == 3  # no training was begun
    found = outcome(late)
    assert sum(e.role == "tournament" for e in found.entries) == 3
    assert "2 min" in found.page.read_text() or "101 s" in found.page.read_text()


def test_what_hangs_is_ended(whole, tmp_path):
    hung = planned(tmp_path / "out", whole[0])
    executor = Here(hangs={Task(3, 1)})
    hung.run(executor)
    assert executor.stops == 1
    assert 3 in hung.journal.stopped
    assert {e.role for e in outcome(hung).entries} == {"tournament", "baseline"}


def test_processes_that_are_busy_are_ended_and_replaced(tmp_path, monkeypatch):
    code = (
        "import sys, time\nfor x in sys.stdin: time.sleep(60 * ('wait' in x)), print(x, end='', flush=True)"
    )
    monkeypatch.setattr(processes, "_COMMAND", [sys.executable, "-c", code])
    with processes.Processes(2, tmp_path / "log") as held:
        held.submit("a", {"wait": True})
        held.submit("b", {"go": True})
        assert held.wait(30) == ("b", {"go": True})
        assert held.wait(0.05) is None
        held.stop()
        held.submit("c", {"c": 1})
        held.submit("d", {"d": 1})
        assert dict([held.wait(30), held.wait(30)]) == {"c": {"c": 1}, "d": {"d": 1}}


def test_no_job_is_begun_when_the_time_is_over():
    begun = []
    seconds = iter([1.0, 1.0, 0.0, 0.0])

    class Counting(Here):
        def submit(self, key, job):
            begun.append(key)
            super().submit(key, job)

        def wait(self, seconds=None):
            return self.held.pop()

    jobs = {k: {} for k in range(9)}
    assert drive(Counting(), lambda: jobs, lambda key, result: jobs.pop(key), lambda: next(seconds)) == set()
    assert len(begun) == 3


@pytest.mark.slow
def test_killed_inside_a_rung_the_same_command_goes_on(whole, tmp_path):
    """In worker processes, killed while a candidate is trained; the last line of the journal is cut, too."""
    table, _, _, tournament = whole
    out = tmp_path / "out"
    planned(out, table, budget="20s")
    command = [sys.executable, "-m", "narrows", "choose", str(table), "--for", "impute", "--budget", "20s"]
    command += ["--out", str(out), "--no-progress", "--json"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        for _ in range(600):
            if list(out.glob("runs/*/recipe.json")) or process.poll() is not None:
                break
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    held = (out / "journal.jsonl").read_bytes()
    (out / "journal.jsonl").write_bytes(held + b'{"event": "score", "candid')
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    again = planned(out, table, budget="20s")
    first = {task: score for task, score in tournament.journal.scores.items() if task.rung == 0}
    assert {task: again.journal.scores[task] for task in first} == first
    assert follow_from_records(again.journal)  # how far it came depends on the machine
    assert json.loads(found.stdout)["best"] in {e["name"] for e in json.loads(found.stdout)["scores"]}


def test_all_take_part_and_the_page_has_them(whole):
    _, out, found, tournament = whole
    roles = {entry.role for entry in found.entries}
    assert roles == {"tournament", "random search", "baseline"}
    assert sum(e.role == "baseline" for e in found.entries) == 2
    page = found.page.read_text()
    for text in (
        *[e.name for e in found.entries],
        "promoted: 1 of 3",
        "Random search and other seeds",
        "<svg",
        found.says.split("`")[1],
    ):
        assert text in page
    assert load(out / "runs" / tournament.all[0].name).method == "vae"
    assert found.run.method


def test_the_runs_are_used_like_others(whole, tmp_path):
    table, out, _, _ = whole
    lines = table.read_text().splitlines()
    lines[3] = lines[3].rpartition(",")[0] + ","
    (tmp_path / "holes.csv").write_text("\n".join(lines) + "\n")
    run = next((out / "runs").iterdir())
    assert (
        narrows(["impute", str(run), str(tmp_path / "holes.csv"), "--out", str(tmp_path / "full.csv")]) == 0
    )
    assert (tmp_path / "full.csv").read_text().splitlines()[3].rpartition(",")[2] in ("high", "low")


def test_fresh_rows_are_in_no_rung(whole):
    from narrows.tournament.work import exam

    setting = whole[3].request.setting
    judging, fresh = exam(setting, "judging"), exam(setting, "fresh")
    assert len(judging.rows) == 72
    assert len(judging.train) == 360 - 72
    rows = [
        {tuple(row) for row in e.columns["hidden"].tolist()}
        for e in (judging.train, judging.rows, fresh.rows)
    ]
    assert sum(map(len, rows)) == len(set.union(*rows))


def test_a_candidate_that_fails_loses(whole, tmp_path):
    again = planned(tmp_path / "out", whole[0])
    again._trained(Task(0, 0), {"failed": "The loss is NaN.", "seconds": 1.0})
    again.run(Here())
    assert 0 not in again.finalists
    assert "The loss is NaN." in outcome(again).page.read_text()


def test_if_all_fail_the_first_reason_is_said(whole, tmp_path):
    again = planned(tmp_path / "out", whole[0])
    for task in list(again._to_train()):
        again._trained(task, {"failed": "No memory.", "seconds": 1.0})
    again.run(Here())
    with pytest.raises(WorkError, match="No memory"):
        outcome(again)


def test_a_finished_tournament_is_shown_again(whole):
    table, out, found, _ = whole
    before = (out / "journal.jsonl").read_bytes()
    again = choose(table, "impute", "60s", out, progress=False)
    assert again.says == found.says
    assert (out / "journal.jsonl").read_bytes() == before


def test_two_processes_in_one_folder_meet_a_lock(whole):
    table, out, _, _ = whole
    with Lock(out), pytest.raises(RequestError, match="in use"):
        choose(table, "impute", "60s", out, progress=False)


def test_another_request_or_another_folder_is_refused(whole, tmp_path):
    table, out, _, _ = whole
    for how in ({"budget": "61s"}, {"seed": 1}, {"data_options": {"missing": 0.3}}):
        with pytest.raises(RequestError, match="another"):
            choose(table, "impute", out=out, progress=False, **({"budget": "60s"} | how))
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(RequestError, match="not a tournament"):
        choose(table, "impute", out=tmp_path, progress=False)
    shutil.copytree(out, tmp_path / "copy")
    path = tmp_path / "copy" / "choose.json"
    path.write_text(path.read_text().replace("60", "70"))
    with pytest.raises(RequestError, match="damaged"):
        choose(table, "impute", "60s", tmp_path / "copy", progress=False)


def priced(folder, table, budget, step):
    """A tournament whose three candidates have a price, without a plan."""
    folder.mkdir(exist_ok=True)
    request = checked(table, "impute", budget, folder, 0, None, {})
    journal = Journal(folder, request.to_json())
    for number in range(3):
        journal.add("price", at=0.5, candidate=number, parameters=10, **{**TIMES, "step": step})
    tournament = Tournament(folder, request, journal, lambda: 0.5, Silent())
    tournament.workers = 2
    return tournament


def test_a_budget_too_small_for_one_rung_says_which_would_do(table, tmp_path):
    tournament = priced(tmp_path / "out", table, "4s", 0.05)
    with pytest.raises(
        RequestError, match=r"too small for one rung: the smallest .* is about (\d+)s"
    ) as error:
        tournament._begin()
    assert not list((tmp_path / "out").iterdir())
    needed = int(str(error.value).split("about ")[1].split("s")[0])
    assert (
        0.05 * 800 < needed < 0.05 * 800 * 2
    )  # a candidate for 100 steps, two for 300 at once, two other seeds
    enough = priced(tmp_path / "out", table, needed, 0.05)
    enough._begin()
    assert enough.journal.schedule.candidates == 3


@pytest.mark.parametrize(
    ("data", "arguments", "says"),
    [
        ("digits", ["--for", "impute"], "is for tables"),
        ("german-credit", ["--for", "impute", "--missing", "1.5"], "--missing"),
        ("digits", ["--for", "sing"], "--for"),
        ("digits", ["--for", "generate", "--budget", "soon"], "--budget"),
        ("digits", ["--for", "generate", "--latent", "3"], "--latent"),
        ("digits", ["--for", "generate", "--workers", "0"], "--workers"),
        ("digits", ["--for", "compress"], "of another kind"),
        ("sbm", ["--for", "reconstruct"], "does not know graphs yet"),
        ("nowhere", ["--for", "reconstruct"], "nowhere"),
    ],
)
def test_a_bad_request_is_a_sentence_and_leaves_nothing(data, arguments, says, tmp_path, capsys):
    out = tmp_path / "out"
    assert narrows(["choose", data, "--out", str(out), *arguments]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert says in error
    assert not out.exists()


def test_too_few_rows_are_refused(tmp_path):
    with pytest.raises(RequestError, match="too few for a tournament"):
        choose(
            np.random.default_rng(0).normal(size=(60, 3)), "reconstruct", out=tmp_path / "out", progress=False
        )


def test_arrays_are_kept_for_the_workers_and_not_overwritten(tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    tmp_path.joinpath("out").mkdir()
    request = checked(x, "reconstruct", 9, tmp_path / "out", 0, None, {})
    assert np.array_equal(np.load(request.setting["data"]), x)
    with pytest.raises(RequestError, match="other data"):
        checked(x + 1, "reconstruct", 9, tmp_path / "out", 0, None, {})


@pytest.mark.parametrize("budget", ["", "10", "0s", -3, "1d", "10 m", float("nan"), None])
def test_budgets(budget):
    if budget == "10":
        assert seconds_of(budget) == 10
    else:
        with pytest.raises(RequestError, match="budget"):
            seconds_of(budget)


def test_refused_requests_leave_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match="must be a time such as 90s"):
        choose("digits", "reconstruct", "tenminutes")
    assert not list(tmp_path.iterdir())


def test_windows_of_several_lengths_are_refused(tmp_path):
    np.save(tmp_path / "series.npy", np.random.default_rng(0).normal(size=(150, 8, 2)).astype(np.float32))
    path = tmp_path / "series.npy"
    with pytest.raises(RequestError, match=r"several lengths.*`window` and `stride`, such as 5 and 1"):
        checked(path, "generate", 9, tmp_path, 0, None, {"window": 5})
    assert (
        checked(path, "detect", 9, tmp_path, 0, None, {"window": 5, "stride": 3}).setting["reads"] == "series"
    )
