"""The executor on Ray: the same decisions as that of processes, and addresses that do not answer."""

import importlib.util
import socket

import pytest

import narrows as nr
from narrows.core.check import RequestError
from narrows.core.progress import Silent
from narrows.tournament.choose import Tournament
from narrows.tournament.journal import Journal
from narrows.tournament.processes import Processes
from narrows.tournament.request import checked

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs the extra `ray` (240 MB)"
)


def decided(folder, data, executor):
    """The decisions of a tournament with a recorded plan."""
    folder.mkdir()
    request = checked(data, "reconstruct", "60s", folder, 0, 2, {})
    journal = Journal(folder, request.to_json())
    for number in range(3):
        journal.add("price", candidate=number, step=0.001, task=0.1, judging=0.01, parameters=10, seconds=0.1)
    journal.add("plan", candidates=3, first=12, order=[0, 1, 2], drawn=[2, 0, 1], workers=2, spent=1.0)
    found = Tournament(folder, request, journal, 0.0, Silent()).run(executor)
    scores = sorted((r["candidate"], r["rung"], r["value"]) for r in journal.of("score"))
    return scores, [(e.name, e.value) for e in found.entries], found.verdict.best.name


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_local_cluster_decides_as_processes_do(table, tmp_path):
    from narrows.tournament.on_ray import OnRay

    processes = decided(tmp_path / "processes", table, Processes(2, tmp_path / "log"))
    assert decided(tmp_path / "ray", table, OnRay("local", 2)) == processes


def test_an_address_that_does_not_answer_is_refused(table, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]  # bound, but nobody listens
        with pytest.raises(RequestError, match="No Ray cluster answers"):
            nr.choose(table, "impute", out=tmp_path / "out", ray=f"127.0.0.1:{port}", progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("address", ["nowhere", "host:", "host:port", "127.0.0.1:99999"])
def test_what_is_no_address_is_refused(address, table, tmp_path):
    with pytest.raises(RequestError, match=r"no address|No Ray cluster"):
        nr.choose(table, "impute", out=tmp_path / "out", ray=address, progress=False)
    assert not (tmp_path / "out").exists()
