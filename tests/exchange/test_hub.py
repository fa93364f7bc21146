"""Runs that are shared in folders and, with a stand-in for its client, on the hub."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import narrows as nr
from narrows.cli.main import run as command
from narrows.core.check import RequestError, WorkError
from narrows.exchange.hub import pull, push, repository


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    folder = tmp_path_factory.mktemp("runs") / "small"
    nr.fit(x, method="topk-sae", latents=8, k=2, steps=3, out=folder, progress=False).audit(limit=30)
    return folder


def same(one, two):
    a, b = nr.load(one), nr.load(two)
    x = torch.randn(5, 4).numpy()
    return np.array_equal(a.reconstruct(x), b.reconstruct(x))


def test_a_run_through_a_folder_is_the_same(made, tmp_path):
    said = []
    assert push(made, str(tmp_path / "shared"), say=said.append) == str(tmp_path / "shared")
    names = {path.name for path in (tmp_path / "shared").iterdir()}
    assert {"recipe.json", "model.safetensors", "result.json", "README.md", "audit.json"} <= names
    assert "state" not in names
    assert said == []
    assert pull(str(tmp_path / "shared"), tmp_path / "back") == tmp_path / "back"
    assert same(made, tmp_path / "back")
    with pytest.raises(RequestError, match="nothing is overwritten"):
        push(made, str(tmp_path / "shared"))


def test_without_an_audit_it_says_so(made, tmp_path):
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    (copy / "audit.json").unlink()
    said = []
    push(copy, str(tmp_path / "shared"), say=said.append)
    assert "narrows audit" in said[0]


def test_damaged_and_unfinished_runs_are_refused_and_nothing_is_written(made, tmp_path):
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[:-4])
    for act in (lambda: push(copy, str(tmp_path / "out")), lambda: pull(str(copy), tmp_path / "out")):
        with pytest.raises(RequestError, match="damaged"):
            act()
    (copy / "result.json").unlink()
    with pytest.raises(RequestError, match="not finished"):
        push(copy, str(tmp_path / "out"))
    with pytest.raises(RequestError, match="is not a run"):
        pull(str(tmp_path), tmp_path / "out")
    with pytest.raises(RequestError, match="not a folder"):
        pull("./nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("address", "found"), [("a/b", "a/b"), ("./a/b", None), ("a", None), ("/a/b", None), ("a/b/c", None)]
)
def test_addresses(address, found):
    assert repository(address) == found


class Hub:
    """A stand-in for the client of the hub, whose repositories are folders."""

    def __init__(self, root):
        self.root, self.calls = root, []

    def create_repo(self, name, *, exist_ok, private):
        self.calls.append((name, exist_ok, private))
        (self.root / name).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(self, *, repo_id, folder_path, allow_patterns, commit_message):
        for name in allow_patterns:
            shutil.copy(Path(folder_path) / name, self.root / repo_id / name)
        return SimpleNamespace(commit_url=f"https://example.org/{repo_id}/commit/1")

    def snapshot_download(self, name, *, revision, allow_patterns):
        if revision == "gone":
            raise OSError("404 Client Error.\nmore")
        self.calls.append((name, revision))
        return str(self.root / name)


def test_a_run_through_the_hub_is_the_same(made, tmp_path, monkeypatch, capsys):
    hub = Hub(tmp_path / "hub")
    module = SimpleNamespace(HfApi=lambda: hub, snapshot_download=hub.snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.chdir(tmp_path)
    assert command(["push", str(made), "--to", "org/small", "--private"]) == 0
    assert "https://example.org/org/small/commit/1" in capsys.readouterr().err
    assert command(["pull", "org/small", "--revision", "main"]) == 0
    assert same(made, tmp_path / "runs" / "small")
    assert hub.calls == [("org/small", True, True), ("org/small", "main")]
    with pytest.raises(WorkError, match=r"org/small was not read: 404 Client Error\. Check the name"):
        pull("org/small", tmp_path / "other", revision="gone")
    assert not (tmp_path / "other").exists()


def test_without_the_client_the_extra_is_named(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WorkError, match="hub"):
        push(made, "org/small")
