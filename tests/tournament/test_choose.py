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

import narrows as nr
from narrows.cli.main import run as narrows
from narrows.core.check import RequestError, WorkError
from narrows.core.lock import Lock
from narrows.core.progress import Silent
from narrows.runs.loading import load
from narrows.tournament.choose import Tournament
from narrows.tournament.executor import drive
from narrows.tournament.journal import Journal
from narrows.tournament.policy import Task, members
from narrows.tournament.request import checked, seconds_of
from narrows.tournament.work import perform

PRICE = {"step": 0.001, "task": 0.1, "judging": 0.01, "parameters": 10, "seconds": 0.1}


class Here:
    """An executor in this process, for tests; it stops after a number of jobs, as if it was killed."""

    workers = 2

    def __init__(self, jobs=10**9):
        self.left, self.held = jobs, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, key, job):
        self.held.append((key, job))

    def wait(self):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        key, job = self.held.pop()
        return key, perform(job)


def planned(folder, data, goal="impute", first=12, n=3):
    """A tournament with a recorded plan, so that nothing hangs on a clock."""
    folder.mkdir(exist_ok=True)
    request = checked(data, goal, "60s", folder, 0, None, {})
    journal = Journal(folder, request.to_json())
    if journal.plan is None:
        for number in range(n):
            journal.add("price", candidate=number, **PRICE)
        order = list(range(n))
        journal.add("plan", candidates=n, first=first, order=order, drawn=order, workers=2, spent=1.0)
    return Tournament(folder, request, journal, time.monotonic(), Silent())


def decisions(journal):
    scores = sorted((r["candidate"], r["rung"], r["value"]) for r in journal.of("score"))
    return scores, sorted((r["candidate"], r["value"]) for r in journal.of("final"))


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
    return table, folder / "out", tournament.run(Here()), tournament


def test_promotion_continues_the_run_exactly(whole, tmp_path):
    _, out, _, tournament = whole
    (best,) = members(tournament.journal.schedule, tournament.journal.scores, 1)
    one = tournament.all[best]
    once = perform({**tournament._job("train", best, steps=36), "folder": str(tmp_path / "once")})
    assert once["value"] == tournament.journal.scores[Task(best, 1)]
    assert (tmp_path / "once" / "model.safetensors").read_bytes() == (
        out / "runs" / one.name / "model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("jobs", [0, 1, 3, 5])
def test_a_tournament_that_was_stopped_between_jobs_decides_the_same(whole, tmp_path, jobs):
    table, _, _, tournament = whole
    for limit in (jobs, 10**9):
        again = planned(tmp_path / "out", table)
        try:
            drive(Here(limit), again._to_train, again._trained)
            drive(Here(), again._to_judge, again._record)
        except KeyboardInterrupt:
            assert limit == jobs
    assert decisions(again.journal) == decisions(tournament.journal)


@pytest.mark.slow
def test_killed_inside_a_rung_the_same_command_goes_on(whole, tmp_path):
    """In worker processes, killed while a candidate is trained; the last line of the journal is cut, too."""
    table, _, _, tournament = whole
    out = tmp_path / "out"
    planned(out, table)
    command = [sys.executable, "-m", "narrows", "choose", str(table), "--for", "impute", "--budget", "60s"]
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
    command += ["--workers", "1"]  # any number decides the same
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    again = planned(out, table)
    assert decisions(again.journal) == decisions(tournament.journal)
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
        "Random search",
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
    table, _, _, _ = whole
    again = planned(tmp_path / "out", table)
    again._trained(Task(0, 0), {"failed": "The loss is NaN.", "seconds": 1.0})
    drive(Here(), again._to_train, again._trained)
    assert 0 not in again.finalists
    found = again.run(Here())
    assert "The loss is NaN." in found.page.read_text()


def test_if_all_fail_the_first_reason_is_said(whole, tmp_path):
    table = whole[0]
    again = planned(tmp_path / "out", table)
    for task in list(again._to_train()):
        again._trained(task, {"failed": "No memory.", "seconds": 1.0})
    with pytest.raises(WorkError, match="No memory"):
        again.run(Here())


def test_a_finished_tournament_is_shown_again(whole):
    table, out, found, _ = whole
    before = (out / "journal.jsonl").read_bytes()
    again = nr.choose(table, "impute", "60s", out, progress=False)
    assert again.says == found.says
    assert (out / "journal.jsonl").read_bytes() == before


def test_two_processes_in_one_folder_meet_a_lock(whole):
    table, out, _, _ = whole
    with Lock(out), pytest.raises(RequestError, match="in use"):
        nr.choose(table, "impute", "60s", out, progress=False)


def test_another_request_or_another_folder_is_refused(whole, tmp_path):
    table, out, _, _ = whole
    for how in ({"budget": "61s"}, {"seed": 1}, {"data_options": {"missing": 0.3}}):
        with pytest.raises(RequestError, match="another"):
            nr.choose(table, "impute", out=out, progress=False, **({"budget": "60s"} | how))
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(RequestError, match="not a tournament"):
        nr.choose(table, "impute", out=tmp_path, progress=False)
    shutil.copytree(out, tmp_path / "copy")
    path = tmp_path / "copy" / "choose.json"
    path.write_text(path.read_text().replace("60", "70"))
    with pytest.raises(RequestError, match="damaged"):
        nr.choose(table, "impute", "60s", tmp_path / "copy", progress=False)


def test_a_budget_too_small_for_one_rung_says_which_would_do(table, tmp_path, monkeypatch):
    request = checked(table, "impute", "2s", tmp_path / "out", 0, None, {})
    (tmp_path / "out").mkdir()
    journal = Journal(tmp_path / "out", request.to_json())
    for number in range(3):
        journal.add("price", candidate=number, **{**PRICE, "step": 0.05})
    tournament = Tournament(tmp_path / "out", request, journal, time.monotonic(), Silent())
    with pytest.raises(
        RequestError, match=r"too small for one rung: the smallest .* is about (\d+)s"
    ) as error:
        tournament._plan(2)
    assert not list((tmp_path / "out").iterdir())
    needed = int(str(error.value).split("about ")[1].split("s")[0])
    assert 0.05 * 800 / 2 / 0.8 < needed < 0.05 * 800 / 0.8 * 1.5
    enough = checked(table, "impute", needed, tmp_path / "out", 0, None, {})
    second = Tournament(tmp_path / "out", enough, journal, time.monotonic(), Silent())
    second._plan(2)
    assert journal.schedule.candidates == 3


@pytest.mark.parametrize(
    ("data", "arguments", "says"),
    [
        ("digits", ["--for", "impute"], "is for tables"),
        ("german-credit", ["--for", "impute", "--missing", "1.5"], "--missing"),
        ("digits", ["--for", "sing"], "--for"),
        ("digits", ["--for", "generate", "--budget", "soon"], "--budget"),
        ("digits", ["--for", "generate", "--latent", "3"], "--latent"),
        ("digits", ["--for", "generate", "--workers", "0"], "--workers"),
        ("sines", ["--for", "reconstruct"], "of another kind"),
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
        nr.choose(
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
        nr.choose("digits", "reconstruct", "tenminutes")
    assert not list(tmp_path.iterdir())
