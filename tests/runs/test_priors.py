"""Priors that are fitted to the codes of a finished run on first use, and stored below it."""

import shutil

import numpy as np
import pytest
import torch

import narrows as nr
from narrows.core.check import RequestError, WorkError
from narrows.core.lock import Lock
from narrows.runs.priors import prior_folder, prior_run, split_priors


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "vae"
    nr.fit("digits", "vae", folder, latent=3, net="mlp:16", steps=60, progress=False)
    return folder


@pytest.fixture
def base(vae, tmp_path):
    shutil.copytree(vae, tmp_path / "run")
    return nr.load(tmp_path / "run")


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_an_alias_is_a_name_in_a_list_of_priors():
    assert split_priors("none,ar:width=8,depth=1,gmm") == ["none", "ar:width=8,depth=1", "gmm"]


def test_a_prior_is_fitted_to_the_training_codes_once_and_found_again(base):
    before = content(base.path)
    first = base.sample(5, prior="gmm:components=4", seed=1)
    folder = base.path / "priors" / "gmm-components-4"
    stored = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert content(base.path) == before
    np.testing.assert_array_equal(nr.load(base.path).sample(5, prior="gmm:components=4", seed=1), first)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == stored
    again = nr.load(folder)
    np.testing.assert_array_equal(again.sample(5, seed=1), first)
    assert again.metrics == []
    with torch.no_grad():
        codes = base.model.encode(base.data.train.all(), (50,)).z.flatten(0, 1)
    mixture = again.model.prior.mixture
    mean = mixture.weights @ mixture.means
    assert torch.allclose(mean.float(), codes.mean(0), atol=0.1)
    one = prior_run(base, "gmm:components=1", progress=False).model.prior.mixture
    assert torch.allclose((one.factors[0] @ one.factors[0].T).float(), torch.cov(codes.T), atol=0.1)
    assert not np.array_equal(base.sample(5, seed=1), first)
    np.testing.assert_array_equal(base.sample(5, seed=1, prior="none"), base.sample(5, seed=1))


def test_a_prior_with_steps_is_trained_and_an_interrupted_one_is_continued(base):
    folder = base.path / "priors" / "flow-matching-depth-1-width-8"
    text = "flow-matching:width=8,depth=1"
    nr.fit(base, prior="flow-matching:depth=1,width=8", out=folder, steps=20, progress=False)
    first = base.sample(3, prior=text, steps=2)
    (folder / "result.json").unlink()
    np.testing.assert_array_equal(base.sample(3, prior=text, steps=2), first)
    assert (folder / "result.json").is_file()


def test_options_that_are_the_defaults_are_no_other_prior(base):
    assert prior_folder(base, "gmm:components=10") == ("gmm", base.path / "priors" / "gmm")
    assert prior_folder(base, "gmm:draws=no,components=3")[0] == "gmm:components=3,draws=no"
    assert split_priors("gmm:3,diagonal,none") == ["gmm:3,diagonal", "none"]


def test_what_cannot_be_is_said_in_a_sentence(base):
    with pytest.raises(RequestError, match=r"`components` must be at most the number of codes"):
        base.sample(3, prior="gmm:components=5000")
    with pytest.raises(RequestError, match="one of `none`, `autoregressive`"):
        base.sample(3, prior="gaussians")
    with pytest.raises(RequestError, match=r"nothing to set|without options"):
        base.sample(3, prior="gmm", steps=5)
    (folder,) = (base.path / "priors").iterdir()
    with Lock(folder):
        (folder / "result.json").unlink()
        with pytest.raises(RequestError, match="in use"):
            base.sample(3, prior="gmm")
    more = nr.resume(base.path, steps=70, progress=False)
    with pytest.raises(RequestError, match=r"other weights of this run.*Remove that folder"):
        more.sample(3, prior="gmm")
    (base.path / "result.json").unlink()
    with pytest.raises(RequestError, match="narrows resume"):
        base.sample(3, prior="gmm:components=2")


def test_a_method_and_a_fitted_prior_in_one_go(tmp_path):
    run = nr.fit(
        "digits", "ae", tmp_path / "r", prior="gmm", latent=3, net="mlp:16", steps=30, progress=False
    )
    assert run.sample(4).shape == (4, 1, 8, 8)
    assert {record["stage"] for record in run.metrics} == {"autoencoder"}
    longer = nr.resume(run.path, steps=40, progress=False)
    assert longer.metrics[-1]["step"] == 40
    names = {check.name for check in run.audit(write=False).checks}
    assert "rate/prior" in names
    with pytest.raises(RequestError, match="at most the number of codes"):
        nr.fit("digits", "ae", tmp_path / "no", prior="gmm:components=9999", steps=5, progress=False)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("name", ["priors", "priors/gmm"])
def test_a_folder_of_priors_that_is_a_link_is_not_followed(base, tmp_path, name):
    from narrows.runs.samplers import stored_priors

    base.sample(2, prior="gmm")
    assert list(stored_priors(base)) == ["gmm"]
    other, folder = tmp_path / "other", base.path / name
    shutil.move(folder, other)
    folder.symlink_to(other)
    before = {path: path.stat().st_mtime_ns for path in other.rglob("*")}
    assert stored_priors(base) == {}
    for prior in ("gmm", "gmm:components=2") if name == "priors" else ("gmm",):
        with pytest.raises(WorkError, match="is a link, which is not followed"):
            base.sample(2, prior=prior)
    assert {path: path.stat().st_mtime_ns for path in other.rglob("*")} == before
