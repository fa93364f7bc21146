"""Runs that are equal but for the seed: made by `seeds`, found by `compare`."""

import json
import re
import shutil
import statistics

import pytest
import torch
from safetensors.torch import load_file

import narrows as nr
from narrows.cli.main import run as narrows
from narrows.core.check import RequestError
from narrows.core.progress import Silent
from narrows.runs.compare import comparison
from narrows.runs.group import summary
from narrows.runs.several import resume_all

HOW = {"steps": 20, "latents": 32, "k": 4, "progress": False}


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """Three seeds of one recipe."""
    folder = tmp_path_factory.mktemp("groups") / "a"
    nr.fit("digits", "topk-sae", folder, seeds=3, **HOW)
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Two seeds of another recipe."""
    folder = tmp_path_factory.mktemp("groups") / "b"
    nr.fit("digits", "topk-sae", folder, seeds=[4, 9], **{**HOW, "k": 8})
    return folder


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(a, b):
    left, right = weights(a), weights(b)
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_each_run_of_a_group_is_the_run_of_its_seed(group, other, tmp_path):
    assert sorted(path.name for path in group.iterdir() if path.is_dir()) == ["seed-0", "seed-1", "seed-2"]
    assert (other / "seed-9" / "result.json").is_file()
    alone = nr.fit("digits", "topk-sae", tmp_path / "alone", seed=2, **HOW)
    assert same(alone.path, group / "seed-2")
    assert alone.recipe == nr.load(group / "seed-2").recipe
    assert not same(group / "seed-0", group / "seed-1")


def test_the_summary_is_mean_and_deviation_of_the_last_metrics(group):
    runs = [nr.load(group / f"seed-{seed}") for seed in range(3)]
    last = [[r["held_out/fvu"] for r in run.metrics if "held_out/fvu" in r][-1] for run in runs]
    row = next(row for row in summary(runs) if row["metric"] == "fvu")
    assert row["mean"] == pytest.approx(statistics.mean(last))
    assert row["sd"] == pytest.approx(statistics.stdev(last))
    assert row["runs"] == 3


class Stops(Silent):
    """Interrupts, as Ctrl-C does, once so many steps are made in all."""

    def __init__(self, at):
        self.stop = at

    def advance(self, done, facts=None):
        if done >= self.stop:
            raise KeyboardInterrupt


@pytest.mark.parametrize("again", ["fit", "resume"])
def test_an_interrupted_group_goes_on_to_the_same_bits(group, tmp_path, again):
    how = {**HOW, "training": {"checkpoint_seconds": 0, "log_every": 5}}
    with pytest.raises(KeyboardInterrupt):
        nr.fit("digits", "topk-sae", tmp_path / "cut", seeds=3, **{**how, "progress": Stops(30)})
    assert not (tmp_path / "cut" / "seed-0" / "result.json").exists()
    with pytest.raises(RequestError, match="seed-0 is not finished"):
        nr.compare([tmp_path / "cut", group], out=tmp_path / "c.html")
    if again == "fit":
        nr.fit("digits", "topk-sae", tmp_path / "cut", seeds=3, **how)
    else:
        resume_all(tmp_path / "cut", progress=False)
    assert all(same(tmp_path / "cut" / f"seed-{n}", group / f"seed-{n}") for n in range(3))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"seeds": 1}, "2 to 1000"),
        ({"seeds": [3]}, "at least two seeds"),
        ({"seeds": [3, 3]}, "all different"),
        ({"seeds": "3"}, "a number of seeds"),
        ({"seeds": 2, "devices": 2}, "`devices`"),
        ({"seeds": 2, "logger": "wandb"}, "`logger`"),
        ({"seeds": 2, "prior": "ar"}, "an argument of the method"),
    ],
)
def test_what_is_no_group_is_refused(tmp_path, asked, says):
    with pytest.raises(RequestError, match=says):
        nr.fit("digits", "topk-sae", tmp_path / "out", **{**HOW, **asked})
    assert not (tmp_path / "out").exists()


def test_a_group_is_not_made_over_something_else(group, tmp_path):
    with pytest.raises(RequestError, match="holds another sweep"):
        nr.fit("digits", "topk-sae", group, seeds=2, **HOW)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="not a sweep"):
        nr.fit("digits", "topk-sae", tmp_path, seeds=2, **HOW)
    with pytest.raises(RequestError, match="left out with a finished run"):
        nr.fit(group / "seed-0", out=tmp_path / "new", prior="flow-matching", seeds=2)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_runs_are_grouped_by_their_recipes(group, other, tmp_path):
    found = comparison([group, other])
    assert [column.title for column in found.columns] == ["topk-sae, k 4 (3 runs)", "topk-sae, k 8 (2 runs)"]
    fvu = next(row for row in found.rows if row.name == "fvu")
    values = [nr.load(group / f"seed-{n}").audit(write=False)["fvu"].value for n in range(3)]
    assert fvu.cells[0].estimate.mean == pytest.approx(statistics.mean(values))
    assert fvu.cells[0].estimate.training == pytest.approx(statistics.stdev(values))
    # by hand, the difference against twice the root of the summed squares
    a, b = (cell.estimate for cell in fvu.cells)
    told = abs(a.mean - b.mean) > 2 * (a.training**2 + b.training**2) ** 0.5
    assert fvu.told == ("told apart" if told else "not told apart")
    # a copy of a run is no second seed
    shutil.copytree(group / "seed-0", tmp_path / "copy")
    found = comparison([group / "seed-0", group / "seed-1", tmp_path / "copy"])
    assert [len(column.runs) for column in found.columns] == [2, 1]


def test_evaluations_of_an_audit_are_shown_if_they_are_of_these_weights(group, tmp_path):
    from narrows.audit.report.finding import Check

    runs = [shutil.copytree(group / f"seed-{n}", tmp_path / f"seed-{n}") for n in range(2)]
    for value, folder in zip((0.5, 0.7), runs, strict=True):
        report = nr.load(folder).audit(write=False)
        document = report.to_json()
        document["parameters"]["evaluations"] = ["mdl:mse=0.1"]
        document["checks"] += [Check("mdl/bits", value, chance=2.0).to_json(), Check("old", 1.0).to_json()]
        (folder / "audit.json").write_text(json.dumps(document))
    rows = {row.name: row for row in comparison(runs).rows}
    assert "old" not in rows
    assert rows["mdl/bits"].cells[0].estimate.values == (0.5, 0.7)
    assert rows["mdl/bits"].cells[0].chance == 2
    document["parameters"]["examples"] = 3  # an audit of other examples
    (runs[1] / "audit.json").write_text(json.dumps(document))
    (runs[0] / "audit.json").write_text("{")
    assert "mdl/bits" not in {row.name for row in comparison(runs).rows}


def test_a_run_given_twice_is_refused(group):
    with pytest.raises(RequestError, match="given twice"):
        comparison([group, group / "seed-1"])


def test_the_commands(group, tmp_path, capsys):
    words = ["fit", "digits", "--method", "topk-sae", "--latents", "32", "--k", "4", "--steps", "3"]
    assert narrows([*words, "--seeds", "2,5", "--out", str(tmp_path / "g"), "--no-progress"]) == 0
    said = capsys.readouterr()
    assert re.search(r"^fvu +\S+ ± \S+ +2$", said.out, re.MULTILINE)
    assert "2 runs" in said.err
    assert narrows(["resume", str(tmp_path / "g")]) == 0
    page = tmp_path / "c.html"
    assert narrows(["compare", str(group), str(tmp_path / "g"), "--out", str(page)]) == 0
    assert "not told apart" in capsys.readouterr().out
    assert "steps 3 (2 runs)" in page.read_text()
    assert narrows(["compare", str(group), str(tmp_path / "g"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [len(column["runs"]) for column in document["columns"]] == [3, 2]
    assert {"training", "evaluation", "chance", "n"} <= set(document["checks"][0]["columns"][0])
