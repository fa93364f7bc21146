"""A run folder belongs to one process at a time, is claimed once, and is never taken from what is there."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import narrows as nr
from narrows.core.check import NarrowsError, RequestError, WorkError
from narrows.core.lock import Lock
from narrows.runs.sweep import sweep
from narrows.train import read_metrics

SMALL = {"latent": 2, "net": "mlp:8", "progress": False}


HOLD = """
import sys, time
from pathlib import Path
from narrows.core.lock import Lock
with Lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def run(tmp_path):
    return nr.fit("digits", "ae", tmp_path / "run", steps=20, **SMALL)


@pytest.fixture
def hold():
    """A process of its own that is working in a folder."""
    started = []

    def begin(folder):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def _fit_at(folder, start, seed, answers):
    start.wait()
    try:
        nr.fit("digits", "ae", folder, steps=60, seed=seed, training={"log_every": 1}, **SMALL)
        answers.put((seed, "finished"))
    except NarrowsError as error:
        answers.put((seed, str(error)))


def test_of_two_fits_into_one_folder_one_is_refused_and_the_other_finishes(tmp_path):
    context = multiprocessing.get_context("fork")
    for attempt in range(3):
        folder, start, answers = tmp_path / str(attempt), context.Barrier(2), context.Queue()
        pair = [
            context.Process(target=_fit_at, args=(folder, start, seed, answers), daemon=True)
            for seed in (1, 2)
        ]
        for process in pair:
            process.start()
        said = dict(answers.get(timeout=120) for _ in pair)
        for process in pair:
            process.join()
        (winner,) = [seed for seed, text in said.items() if text == "finished"]
        (refused,) = [text for text in said.values() if text != "finished"]
        assert str(folder) in refused
        assert "is working there" in refused or "nothing is overwritten" in refused
        assert nr.load(folder).recipe.training["seed"] == winner
        assert len(read_metrics(folder)) == 60


@pytest.mark.parametrize("verb", ["fit", "resume", "sweep", "member"])
def test_a_second_process_is_refused_and_told_which_one_is_at_work(tmp_path, hold, verb):
    folder = tmp_path / "run"
    if verb == "fit":
        folder.mkdir()
    elif verb == "resume":
        nr.fit("digits", "ae", folder, steps=2, **SMALL)
    else:
        sweep("digits", "ae", {"latent": [2, 3]}, folder, steps=2, page=False, progress=False)
        (folder / "latent=2" / "result.json").unlink()
    process = hold(folder / "latent=2" if verb == "member" else folder)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    call = {
        "fit": lambda: nr.fit("digits", "ae", folder, steps=2, **SMALL),
        "resume": lambda: nr.resume(folder, steps=4, progress=False),
    }.get(
        verb, lambda: sweep("digits", "ae", {"latent": [2, 3]}, folder, steps=2, page=False, progress=False)
    )
    with pytest.raises(
        RequestError, match=rf"{folder}.* is in use: process {process.pid} on '.*' is working"
    ):
        call()
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    process.kill()
    process.wait()
    call()  # nothing stands in the way of whoever comes after a process that was killed


def test_a_lock_is_one_at_a_time_and_leaves_nothing(tmp_path):
    with Lock(tmp_path):
        with pytest.raises(RequestError, match=f"process {os.getpid()} on"), Lock(tmp_path):
            pass
        assert os.listdir(tmp_path) == [".lock"]
    assert os.listdir(tmp_path) == []


def test_without_locks_the_file_itself_stands_for_one(tmp_path, monkeypatch):
    monkeypatch.setattr("narrows.core.files.LOCKS", False)
    says = r"has no locks: if that process has ended, remove .*lock"
    with Lock(tmp_path), pytest.raises(RequestError, match=says), Lock(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "make", [lambda lock, mine: lock.symlink_to(mine), lambda lock, mine: os.mkfifo(lock)]
)
def test_a_lock_that_somebody_planted_is_refused(tmp_path, make):
    mine, folder = tmp_path / "mine.txt", tmp_path / "run"
    mine.write_text("mine")
    folder.mkdir()
    make(folder / ".lock", mine)
    with pytest.raises(RequestError, match="Remove it"):
        nr.fit("digits", "ae", folder, steps=1, **SMALL)
    assert mine.read_text() == "mine"


def test_resume_beside_a_run_at_work_leaves_its_records_alone(tmp_path):
    folder = tmp_path / "run"
    code = (
        "import sys, narrows as nr; nr.fit('digits', 'ae', sys.argv[1], steps=1500, latent=2, net='mlp:8', "
    )
    code += "progress=False, training={'log_every': 1})"
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)])
    while len(read_metrics(folder)) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    with pytest.raises(RequestError, match=f"process {process.pid} on"):
        nr.resume(folder, progress=False)
    assert process.wait() == 0
    assert [r["at"] for r in read_metrics(folder)] == list(range(1, 1501))


@pytest.mark.parametrize("kind", ["dot", "link", "empty", "leftovers"])
def test_an_empty_folder_is_taken_as_it_is(tmp_path, monkeypatch, kind):
    folder = tmp_path / "out"
    folder.mkdir()
    if kind == "dot":
        monkeypatch.chdir(folder)
    if kind == "link":
        (tmp_path / "link").symlink_to(folder)
    if kind == "leftovers":  # of a process that was killed before it had written its recipe
        (folder / ".lock").write_text('{"pid": 1, "host": "x"}')
        (folder / f".narrows-{'a' * 16}.tmp").write_text('{"form')
    out = {"dot": Path("."), "link": tmp_path / "link"}.get(kind, folder)
    run = nr.fit("digits", "ae", out, steps=2, **SMALL)
    assert nr.load(out).recipe == run.recipe
    assert {p.name for p in folder.iterdir()} == {
        "recipe.json",
        "model.safetensors",
        "state",
        "metrics.jsonl",
        "README.md",
        "result.json",
    }
    assert 'nr.load("")' not in (folder / "README.md").read_text()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file" / "run", tmp_path / ("x" * 300), tmp_path / "file"):
        with pytest.raises(RequestError, match=r"cannot be created|exists already"):
            nr.fit("digits", "ae", out, steps=1, **SMALL)
    with pytest.raises(RequestError, match="cannot be created"):
        sweep("digits", "ae", {"latent": [1, 2]}, tmp_path / "file" / "sweep", steps=1, progress=False)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_fit_that_cannot_begin_removes_only_what_it_made(tmp_path, monkeypatch):
    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "there").mkdir()
    for name in ("new", "there"):
        with pytest.raises(WorkError, match="No space is left"):
            nr.fit("digits", "ae", tmp_path / name, steps=1, **SMALL)
    assert [p.relative_to(tmp_path).name for p in tmp_path.rglob("*")] == ["there"]


def test_killed_just_before_its_result_a_run_is_not_damaged(run):
    (run.path / "result.json").unlink()
    code = run.encode()["z"]
    assert np.array_equal(nr.load(run.path).encode()["z"], code)
    nr.load(run.path).audit(limit=50)
    nr.resume(run.path, progress=False)
    assert np.array_equal(nr.load(run.path).encode()["z"], code)


def test_killed_while_it_trains_on_a_finished_run_is_not_finished(tmp_path, run):
    whole = nr.fit("digits", "ae", tmp_path / "whole", steps=40, **SMALL)
    code = "import sys, os, signal, narrows as nr; from narrows.train.engine import Engine\n"
    code += "Engine._finish = lambda self: os.kill(os.getpid(), signal.SIGKILL)\n"
    code += "nr.resume(sys.argv[1], steps=40, progress=False)"
    done = subprocess.run([sys.executable, "-c", code, str(run.path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (run.path / "result.json").exists()
    again = nr.resume(run.path, progress=False)
    assert np.array_equal(again.encode()["z"], whole.encode()["z"])


def test_a_state_folder_that_is_a_link_is_not_followed(tmp_path, run):
    other = tmp_path / "other"
    shutil.move(run.path / "state", other)
    (run.path / "state").symlink_to(other)
    before = {p.name: p.read_bytes() for p in other.iterdir()}
    with pytest.raises(WorkError, match="is a link, which is not followed"):
        nr.resume(run.path, steps=30, progress=False)
    assert {p.name: p.read_bytes() for p in other.iterdir()} == before


@pytest.mark.parametrize("kind", ["array", "csv", "large"])
def test_resume_tells_other_data_of_the_same_shape(tmp_path, kind):
    rows = (
        np.random.default_rng(0).normal(size=(60_000, 200) if kind == "large" else (60, 5)).astype(np.float32)
    )
    other = rows.copy()
    other[0 if kind == "large" else 7] += 1  # of large data a sample is compared
    paths = [tmp_path / "x.csv", tmp_path / "y.csv"]
    if kind == "csv":
        for path, x in zip(paths, (rows, other), strict=True):
            np.savetxt(path, x, delimiter=",", header="a,b,c,d,e", comments="", fmt="%.9g")
    first, second = paths if kind == "csv" else (rows, other)
    run = nr.fit(first, "ae", tmp_path / "run", steps=3, **SMALL)
    with pytest.raises(RequestError, match="not those that the run was fitted on"):
        nr.resume(run.path, steps=6, data=second, progress=False)
    if kind == "csv":
        shutil.copy(second, first)
        with pytest.raises(RequestError, match="not those that the run was fitted on"):
            nr.resume(run.path, steps=6, progress=False)
    if kind == "csv":
        np.savetxt(
            first, rows, delimiter=",", header="a,b,c,d,e", comments="", fmt="%.12g"
        )  # spelled otherwise
    assert nr.resume(run.path, steps=6, data=first, progress=False).recipe.training["steps"] == 6


def test_a_sweep_tells_other_data(tmp_path):
    rows = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    ask = {
        "method": "ae",
        "over": {"latent": [1, 2]},
        "out": tmp_path / "s",
        "steps": 3,
        "page": False,
        "progress": False,
    }
    sweep(rows, **ask)
    (tmp_path / "s" / "latent=2" / "result.json").unlink()
    with pytest.raises(RequestError, match="changed since the sweep began"):
        sweep(rows + 1, **ask)
    sweep(rows, **ask)


def test_a_sweep_that_cannot_begin_may_be_asked_for_rightly(tmp_path):
    how = {"steps": 1, "page": False, "progress": False}
    with pytest.raises(RequestError):
        sweep("digits", "ae", {"latnet": [1, 2]}, tmp_path / "s", **how)
    assert os.listdir(tmp_path) == []
    assert len(sweep("digits", "ae", {"latent": [1, 2]}, tmp_path / "s", **how)) == 2


def test_numbers_that_are_not_finite_are_kept_as_null(tmp_path):
    from narrows.train import Store

    Store(tmp_path).log(
        {"at": 1, "stage": "a", "step": 1, "x": float("inf"), "y": 2.0, "d/density": [1, float("nan")]}
    )
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line, parse_constant=pytest.fail)["x"] is None
    assert read_metrics(tmp_path) == [{"at": 1, "stage": "a", "step": 1, "y": 2.0}]


def test_a_file_is_said_to_be_no_run(tmp_path):
    (tmp_path / "compare.html").write_text("<html>")
    with pytest.raises(RequestError, match=r"compare.html is not a run: it is a file"):
        nr.load(tmp_path / "compare.html")
