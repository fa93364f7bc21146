"""The executor on Ray: the same decisions as that of processes, and addresses that do not answer."""

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from narrows.core.check import RequestError
from narrows.core.progress import Silent
from narrows.tournament import choose
from narrows.tournament.journal import Journal
from narrows.tournament.processes import Processes
from narrows.tournament.request import checked
from narrows.tournament.tournament import Tournament

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs the extra `ray` (240 MB)"
)


class Fixed:
    """An executor with fixed times, so that nothing hangs on a clock."""

    def __init__(self, executor):
        self.executor, self.workers = executor, executor.workers

    def __enter__(self):
        self.executor.__enter__()
        return self

    def __exit__(self, *error):
        self.executor.__exit__(*error)

    def submit(self, key, job):
        self.executor.submit(key, job)

    def stop(self):
        self.executor.stop()

    def wait(self, seconds=None):
        key, result = self.executor.wait()
        return key, result | {name: value for name, value in TIMES.items() if name in result}


TIMES = {"step": 0.6, "task": 0.1, "judging": 0.01}


def decided(folder, data, executor):
    """The decisions of a tournament with a recorded first rung."""
    folder.mkdir()
    request = checked(data, "reconstruct", "60s", folder, 0, 2, {})
    journal = Journal(folder, request.to_json())
    for number in range(3):
        journal.add("price", at=1.0, candidate=number, parameters=10, seconds=0.1, **TIMES)
    journal.add("field", at=1.0, order=[0, 1, 2], drawn=[2, 0, 1])
    journal.add("plan", at=1.0, candidates=3, steps=[12], repeats=0, seconds=None, workers=2)
    tournament = Tournament(folder, request, journal, lambda: 0.0, Silent())
    tournament.run(Fixed(executor))
    plans = [(r["steps"], r["repeats"]) for r in journal.of("plan")]
    scores = sorted((r["candidate"], r["rung"], r["value"]) for r in journal.of("score"))
    entries, verdict = tournament.entries()
    return plans, scores, [(e.name, e.seeds) for e in entries], verdict.winner.name


def decided_on_ray(folder, data, address, **variables):
    """The same on Ray, in a process of its own: Ray reads its settings once, when it is imported."""
    code = "import sys, json, pathlib, test_ray; from narrows.tournament.on_ray import OnRay; folder, data, at = "
    code += "map(pathlib.Path, sys.argv[1:]); print(json.dumps(test_ray.decided(folder, data, OnRay(str(at), 2))))"
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    found = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(data), address],
        env={**os.environ, "PYTHONPATH": paths, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout.splitlines()[-1])


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_clusters_decide_as_processes_do(table, tmp_path, short, monkeypatch):
    """One that is started here, and one from the shell that asks for a token, and refuses others."""
    from narrows.tournament.on_ray import OnRay

    processes = json.loads(json.dumps(decided(tmp_path / "processes", table, Processes(2, tmp_path / "log"))))
    assert len(processes[0]) >= 3
    monkeypatch.setenv("HOME", str(tmp_path))  # without a token in a file
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert decided_on_ray(tmp_path / "local", table, "local") == processes
    (tmp_path / ".ray" / "auth_token").unlink(missing_ok=True)  # which that has written
    token = "0123456789abcdef" * 2
    with cluster(short, token) as address:
        for wrong in ("", "f" * 32):
            monkeypatch.setenv("RAY_AUTH_TOKEN", wrong)
            with pytest.raises(RequestError, match=r"asks for a token. Set RAY_AUTH_MODE=token"):
                OnRay(address, 2)
            monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
        assert decided_on_ray(tmp_path / "ray", table, address, RAY_AUTH_TOKEN=token) == processes


@contextlib.contextmanager
def cluster(folder, token):
    """A cluster of this machine, started from the shell; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--port", str(port), "--block"]
    command += ["--num-cpus", "2", "--include-dashboard=false", "--temp-dir", str(folder)]
    command += ["--min-worker-port", "0", "--max-worker-port", "0"]
    asked = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}
    with (folder / "log").open("w") as log:
        started = subprocess.Popen(
            command, env={**os.environ, **asked}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        for _ in range(600):
            if started.poll() is not None or "Ray runtime started" in (folder / "log").read_text():
                break
            time.sleep(0.1)
        assert started.poll() is None, (folder / "log").read_text()
        yield f"127.0.0.1:{port}"
    finally:
        started.terminate()
        try:
            started.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)


@pytest.fixture
def short():
    """A folder with a short path, since names of sockets are short."""
    with tempfile.TemporaryDirectory(prefix="nr", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_without_a_token_does_not_mind_one(short, monkeypatch):
    from narrows.tournament.on_ray import OnRay

    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 32)
    with cluster(short, None) as address, OnRay(address, 1) as held:
        held.submit("a", {"do": "nothing"})
        key, result = held.wait(60)
        assert (key, result["failed"]) == ("a", "KeyError: 'nothing'")


@needs_ray
@pytest.mark.slow
def test_what_is_no_cluster_is_refused(monkeypatch):
    from narrows.tournament import on_ray

    monkeypatch.setattr(on_ray, "_PATIENCE", 3.0)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with pytest.raises(RequestError, match="though something listens there"):
            on_ray.OnRay(f"127.0.0.1:{listening.getsockname()[1]}", 1)


def test_an_address_that_does_not_answer_is_refused(table, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]  # bound, but nobody listens
        with pytest.raises(RequestError, match="No Ray cluster answers"):
            choose(table, "impute", out=tmp_path / "out", ray=f"127.0.0.1:{port}", progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("address", ["nowhere", "host:", "host:port", "127.0.0.1:99999"])
def test_what_is_no_address_is_refused(address, table, tmp_path):
    with pytest.raises(RequestError, match=r"no address|No Ray cluster"):
        choose(table, "impute", out=tmp_path / "out", ray=address, progress=False)
    assert not (tmp_path / "out").exists()
