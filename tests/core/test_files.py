"""Files are written whole or not at all, with the user's mode, and never through a link."""

import errno
import os
import signal
import stat
import subprocess
import sys
import threading

import pytest

import narrows as nr
from narrows.core import files
from narrows.core.check import WorkError


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "victim.txt"
    path.write_text("mine")
    return path


def test_a_file_is_there_whole_or_as_it_was(tmp_path):
    path = tmp_path / "x"
    files.write(path, b"first")

    with pytest.raises(TypeError), files.replacing(path) as file:
        file.writelines([b"half", None])
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["x"]


def test_the_mode_is_the_umasks(tmp_path):
    before = os.umask(0o027)
    try:
        files.write(tmp_path / "a", b"")
        files.append(tmp_path / "b", b"")
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"] == [0o640, 0o640]


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path, victim):
    link = tmp_path / "report.html"
    link.symlink_to(victim)
    files.write(link, b"page")
    assert victim.read_text() == "mine"
    assert not link.is_symlink()
    assert link.read_bytes() == b"page"


def test_nothing_is_added_through_a_link(tmp_path, victim):
    (tmp_path / "metrics.jsonl").symlink_to(victim)
    with pytest.raises(WorkError, match="is a link, which is not followed"):
        files.append(tmp_path / "metrics.jsonl", b"more")
    assert victim.read_text() == "mine"


def test_names_that_were_planted_are_not_written_through(tmp_path, victim, monkeypatch):
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "0" * 16)  # as if they could be guessed
    (tmp_path / f".narrows-{'0' * 16}.tmp").symlink_to(victim)
    with pytest.raises(WorkError, match="cannot be written"):
        files.write(tmp_path / "x", b"bytes")
    assert victim.read_text() == "mine"


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "No space is left to write .*x. An existing file is kept. Do so."),
        (errno.EIO, "cannot be"),
    ],
)
def test_a_disk_that_fails_is_a_sentence(tmp_path, monkeypatch, number, says):
    files.write(tmp_path / "x", b"first")

    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(WorkError, match=says):
        files.write(tmp_path / "x", b"second", "Do so.")
    assert (tmp_path / "x").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["x"]


def test_what_a_killed_process_left_is_removed_and_what_is_being_written_stays(tmp_path, victim):
    kill = "import os, signal, sys; from pathlib import Path; from narrows.core import files\n"
    kill += (
        "with files.replacing(Path(sys.argv[1])) as f: f.write(b'half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", kill, str(tmp_path / "x")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert sum(files.is_temporary(p) for p in tmp_path.iterdir()) == 1
    link = tmp_path / f".narrows-{'a' * 16}.tmp"
    link.symlink_to(victim)
    with files.replacing(tmp_path / "y") as file:
        files.remove_temporary_files(tmp_path)
        file.write(b"whole")
    assert (tmp_path / "y").read_bytes() == b"whole"
    assert sorted(os.listdir(tmp_path)) == sorted([link.name, "victim.txt", "y"])


def test_many_writers_of_one_file_leave_one_of_theirs(tmp_path):
    def write(number):
        for _ in range(20):
            files.write(tmp_path / "x", bytes([number]) * 1000)
            files.remove_temporary_files(tmp_path)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = (tmp_path / "x").read_bytes()
    assert len(content) == 1000
    assert len(set(content)) == 1
    assert os.listdir(tmp_path) == ["x"]


def test_an_audit_does_not_write_where_a_strangers_run_points(tmp_path, victim):
    run = nr.fit("digits", "ae", tmp_path / "run", steps=2, progress=False)
    for name in ("audit.json", "report.html", "features.html"):
        (run.path / f"{name}.part").symlink_to(victim)
        (run.path / name).symlink_to(victim)
    nr.load(run.path).audit(limit=50)
    assert victim.read_text() == "mine"
    assert "<html" in (run.path / "report.html").read_text()


def test_all_files_of_a_run_have_one_mode(tmp_path):
    run = nr.fit("digits", "ae", tmp_path / "run", steps=2, progress=False)
    modes = {stat.S_IMODE(p.stat().st_mode) for p in run.path.rglob("*") if p.is_file()}
    assert len(modes) == 1
