"""A prior on a finished run from the command line, and how it draws."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import narrows as nr
from narrows.cli.sampling import prior_of, sampling_options
from narrows.priors import PRIORS


@pytest.fixture(scope="module")
def flow(fitted, tmp_path_factory):
    from narrows import fit

    folder = tmp_path_factory.mktemp("second") / "flow"
    fit(fitted, prior="flow-matching:width=8,depth=1", out=folder, steps=5, progress=False)
    return folder


def test_fit_on_a_run_and_sample(cli, fitted, tmp_path):
    out, sheet = tmp_path / "f", tmp_path / "g.png"
    code = cli("fit", fitted, "--prior", "flow-matching:width=8,depth=1", "--steps", 4, "--out", out)[0]
    assert code == 0
    assert (
        json.loads((out / "recipe.json").read_text())["prior"]["text"]
        == "flow-matching:width=8,depth=1,labels=yes"
    )
    assert cli("sample", out, "--steps", 3, "--sampler", "euler", "-n", 4, "--out", sheet)[0] == 0
    with Image.open(sheet) as picture:
        assert picture.size[0] > 16


def test_the_options_are_those_of_the_runs_prior(cli, flow, tmp_path):
    assert prior_of(["sample", str(flow)]) == "flow-matching"
    shown = {option.name for option in sampling_options([str(flow)]) if not option.hidden}
    assert shown == {"steps", "sampler", "guidance", "guidance_interval"}
    code, _, said = cli("sample", flow, "--top-k", 5, "--out", tmp_path / "g.png")
    assert code == 2
    assert "It has `--steps`, `--sampler`, `--guidance`" in said
    assert not (tmp_path / "g.png").exists()
    assert prior_of(["nowhere"]) == ""


def test_the_options_of_every_prior_can_be_typed():
    for name in PRIORS.parts:
        assert set(sampling_names(name)) <= {option.name for option in sampling_options([])}


def sampling_names(name):
    from narrows.priors import sampling_options as of_prior

    return of_prior(PRIORS.constructor(name))


@pytest.mark.parametrize("option", ["--guidance", "--top-k", "--sampler"])
def test_fit_says_where_the_options_of_drawing_belong(cli, fitted, tmp_path, option):
    code, _, said = cli("fit", fitted, "--prior", "flow-matching", option, 2, "--out", tmp_path / "no")
    assert code == 2
    assert f"There is no option `{option}`. It is one of `narrows sample`" in said
    code, _, said = cli("fit", fitted, "--prior", "flow-matching", "--seeed", 2, "--out", tmp_path / "no")
    assert "Did you mean `--seed`" in said


def test_a_run_without_a_second_stage_has_nothing_to_set(cli, fitted, tmp_path):
    code, _, said = cli("sample", fitted, "--temperature", 0.5, "--out", tmp_path / "g.png")
    assert code == 2
    assert "nothing to set" in said


def test_a_run_is_no_data_without_a_prior(cli, fitted, tmp_path):
    code, _, said = cli("fit", fitted, "--out", tmp_path / "no")
    assert code == 2
    assert f"with --prior, one of {', '.join(PRIORS.parts)}" in " ".join(said.split())
    code, _, said = cli("fit", fitted, "--prior", "maskgit", "--out", tmp_path / "no")
    assert code == 2
    assert "These do: givt" in said


@pytest.fixture
def run(fitted, tmp_path):
    return shutil.copytree(fitted, tmp_path / "run")


def test_several_priors_are_drawn_side_by_side(cli, run, tmp_path):
    sheet, arrays = tmp_path / "g.png", tmp_path / "x.npz"
    priors = "none,gmm:3,diagonal"
    assert cli("sample", run, "--prior", priors, "-n", 18, "--out", sheet)[0] == 0
    with Image.open(sheet) as picture:
        one = 14 + 2 + 2 * (48 + 2)
        assert picture.size == (2 + 16 * (48 + 2), 2 * one)
    assert cli("sample", run, "--prior", priors, "-n", 5, "--out", arrays)[0] == 0
    with np.load(arrays) as found:
        assert {name: x.shape for name, x in found.items()} == {
            "none": (5, 1, 8, 8),
            "gmm:3,diagonal": (5, 1, 8, 8),
        }
    assert [path.name for path in (run / "priors").iterdir()] == ["gmm-components-3-covariance-diagonal"]


def test_the_help_shows_the_options_of_the_prior_that_is_asked_for(run):
    hidden = {
        option.name: option.hidden for option in sampling_options([str(run)], "none,flow-matching:width=8")
    }
    assert not hidden["sampler"]
    assert hidden["temperature"]


def test_a_prior_that_cannot_be_is_a_sentence(cli, run, tmp_path):
    code, _, said = cli("sample", run, "--prior", "gmm:components=9999", "--out", tmp_path / "g.png")
    assert code == 2
    assert "at most the number of codes" in said
    assert not (run / "priors").exists() or not any((run / "priors").iterdir())


def test_jetformer_is_guided_without_a_second_stage(cli, refused, tmp_path):
    small = {"width": 8, "depth": 1, "heads": 2, "couplings": 1, "patch": 4, "steps": 1, "progress": False}
    told, untold = tmp_path / "told", tmp_path / "untold"
    nr.fit("digits", "jetformer", told, labels=True, **small)
    nr.fit("digits", "jetformer", untold, **small)
    shown = {option.name for option in sampling_options([str(told)]) if not option.hidden}
    assert shown == {"guidance"}
    out = tmp_path / "x.npz"
    assert cli("sample", told, "--label", 3, "--guidance", 2, "-n", 2, "--out", out)[0] == 0
    said = refused("sample", untold, "--guidance", 2, "--out", tmp_path / "no.npz")
    assert "`--guidance` must be 1 where a prior is told no labels" in said
    assert "Fit the method with its option `labels`" in said
    assert "It has `--guidance`" in refused("sample", told, "--top-k", 2, "--out", tmp_path / "no.npz")
    assert not (tmp_path / "no.npz").exists()
