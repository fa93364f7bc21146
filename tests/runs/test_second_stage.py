"""A prior on a finished run: the run's own weights stay, the new folder is whole, and it resumes to the same bits."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import narrows as nr
from narrows.core import Prior, Symbols, files
from narrows.core.check import RequestError
from narrows.priors import PRIORS
from narrows.priors.maskgit import MaskGIT
from narrows.train import read_metrics

FIT = """
import sys, narrows as nr
nr.fit(sys.argv[1], prior="flow-matching:width=16,depth=1", out=sys.argv[2], steps=400, seed=3, progress=False,
       training={"log_every": 7, "checkpoint_seconds": 0})
"""


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "vae"
    nr.fit("digits", "vae", folder, latent=3, net="mlp:16", steps=60, progress=False)
    return folder


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "vq"
    nr.fit(
        "digits", "vq-vae", folder, codes=16, width=4, prior="ar:width=8,depth=1", steps=20, progress=False
    )
    return folder


def second(base, out, prior="flow-matching:width=16,depth=1", steps=30):
    return nr.fit(
        base,
        prior=prior,
        out=out,
        steps=steps,
        seed=3,
        progress=False,
        training={"log_every": 7, "checkpoint_seconds": 0},
    )


def tensors(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("as_run", [True, False])
def test_the_base_keeps_its_weights_and_the_new_folder_needs_it_no_more(vae, tmp_path, as_run):
    base, out = tmp_path / "base", tmp_path / "f"
    shutil.copytree(vae, base)
    before = {path.name: path.read_bytes() for path in base.iterdir() if path.is_file()}
    loaded = nr.load(base)
    run = second(loaded if as_run else base, out)
    assert loaded.model.prior is None
    assert {path.name: path.read_bytes() for path in base.iterdir() if path.is_file()} == before
    assert run.recipe.base["sha256"] == files.sha256(base / "model.safetensors")
    assert run.recipe.base["recipe"]["method"] == "vae"
    shutil.rmtree(base)
    again = nr.load(out)
    old, new = loaded.model.state_dict(), tensors(out)
    assert all(torch.equal(old[name], new[name]) for name in old)
    assert set(new) - set(old) == {f"prior.{name}" for name in again.model.prior.state_dict()}
    np.testing.assert_array_equal(again.reconstruct("digits"), loaded.reconstruct("digits"))
    np.testing.assert_array_equal(again.sample(5, steps=3), run.sample(5, steps=3))
    assert {record["stage"] for record in again.metrics} == {"prior"}
    assert json.loads((out / "result.json").read_text())["steps"] == 30
    card = (out / "README.md").read_text()
    assert "| second stage | `flow-matching:width=16,depth=1,labels=yes` |" in card
    assert f"the run `{base}`" in card


def test_the_prior_has_the_scale_of_the_codes(vae, tmp_path):
    run = second(vae, tmp_path / "f")
    with torch.no_grad():
        codes = run.model.encode(run.data.train.all(500), (20,)).z.flatten(0, 1)
    drawn = run.model.prior.sample(2000)
    assert torch.allclose(run.model.prior.shift, codes.mean(0), atol=0.1)
    assert torch.allclose(run.model.prior.scale, codes.std(0), rtol=0.1)
    assert torch.allclose(drawn.std(0), codes.std(0), rtol=0.25)


@pytest.mark.parametrize("prior", ["maskgit:width=8,depth=1,labels=no", "ar:width=8,depth=1,labels=yes"])
def test_a_quantised_run_gets_another_prior_in_the_place_of_its_own(tokens, tmp_path, prior):
    run = second(tokens, tmp_path / "m", prior, steps=5)
    assert type(run.model.prior) is PRIORS.constructor(PRIORS.read(prior).name)
    old, new = tensors(tokens), tensors(tmp_path / "m")
    assert all(torch.equal(old[name], new[name]) for name in old if not name.startswith("prior."))
    again = nr.load(tmp_path / "m")
    np.testing.assert_array_equal(again.sample(4, seed=2), run.sample(4, seed=2))
    if "labels=yes" in prior:
        assert again.sample(4, label=3, guidance=2.0).shape == (4, 1, 8, 8)
    else:
        with pytest.raises(RequestError, match="left out"):
            again.sample(4, label=3)


@pytest.mark.parametrize("method", ["vae", "ae", "topk-sae"])
def test_any_method_is_fitted_with_a_prior_in_one_go(tmp_path, method):
    options = {"latents": 16, "k": 4} if method == "topk-sae" else {"latent": 3, "net": "mlp:16"}
    run = nr.fit(
        "digits", method, tmp_path / "r", prior="flow-matching:width=8", steps=10, progress=False, **options
    )
    assert [end["stage"] for end in json.loads((run.path / "result.json").read_text())["stages"]] == [
        "autoencoder",
        "prior",
    ]
    assert nr.load(run.path).sample(3, steps=2, sampler="euler").shape == (3, 1, 8, 8)


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(vae, tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-c", FIT, str(vae), str(killed)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    deadline = time.monotonic() + 120
    while len(read_metrics(killed)) < 3:
        assert process.poll() is None, "the fit ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "result.json").exists()
    nr.resume(killed, progress=False)
    second(vae, whole, steps=400)
    assert tensors(killed).keys() == tensors(whole).keys()
    assert all(torch.equal(value, tensors(whole)[name]) for name, value in tensors(killed).items())
    assert read_metrics(killed) == read_metrics(whole)


def test_killed_before_its_first_checkpoint_it_begins_anew_to_the_same_bits(vae, tmp_path):
    whole, begun = tmp_path / "whole", tmp_path / "begun"
    second(vae, whole)
    begun.mkdir()
    shutil.copy(whole / "recipe.json", begun)
    base = {name: value for name, value in tensors(whole).items() if not name.startswith("prior.")}
    from safetensors.torch import save_file

    save_file(base, begun / "model.safetensors")
    nr.resume(begun, progress=False)
    assert all(torch.equal(value, tensors(whole)[name]) for name, value in tensors(begun).items())
    assert read_metrics(begun) == read_metrics(whole)
    (begun / "result.json").unlink()
    shutil.rmtree(begun / "state")
    (begun / "model.safetensors").write_bytes(b"short")
    with pytest.raises(RequestError, match="damaged"):
        nr.resume(begun, progress=False)


def test_more_steps_train_the_prior_further(vae, tmp_path):
    short, long = tmp_path / "short", tmp_path / "long"
    second(vae, short, steps=20)
    nr.resume(short, steps=40, progress=False)
    second(vae, long, steps=40)
    assert all(torch.equal(value, tensors(long)[name]) for name, value in tensors(short).items())


def test_what_cannot_be_is_said_in_a_sentence(vae, tokens, tmp_path):
    out = tmp_path / "no"
    for wrong, data, match in (
        ({}, vae, "Choose the prior to fit to its codes with --prior, one of autoregressive, "),
        ({"prior": "none"}, vae, "Choose the prior"),
        ({"prior": "maskgit"}, vae, "These do: givt"),
        ({"prior": "flow-matching"}, tokens, "These do: autoregressive, "),
        ({"prior": "flow-matching:wide=3"}, vae, "no option `wide`"),
        ({"prior": "flow-matching", "method": "vae"}, vae, "left out"),
        ({"prior": "flow-matching", "latent": 3}, vae, "trained already"),
        ({"prior": "flow-matching", "data_options": {"limit": 9}}, vae, "left out"),
    ):
        with pytest.raises(RequestError, match=match):
            nr.fit(data, out=out, steps=5, progress=False, **wrong)
    assert not out.exists()
    unfinished = tmp_path / "unfinished"
    shutil.copytree(vae, unfinished)
    (unfinished / "result.json").unlink()
    with pytest.raises(RequestError, match="narrows resume"):
        nr.fit(unfinished, prior="flow-matching", out=out)


class Diagonal(Prior):
    """A user's own: a Gaussian with a deviation for each number of the code."""

    reads = ("vector",)

    def __init__(self, size):
        super().__init__()
        self.mean, self.log_scale = (torch.nn.Parameter(torch.zeros(size)) for _ in range(2))

    def nll(self, symbols, condition=None):
        normal = torch.distributions.Normal(self.mean, self.log_scale.exp())
        return -normal.log_prob(symbols).sum(-1)

    def sample(self, n, condition=None, *, spread: float = 1.0):
        return self.mean + spread * self.log_scale.exp() * torch.randn(n, len(self.mean))


def test_an_object_is_a_prior_too_and_is_handed_in_again(vae, tmp_path):
    out = tmp_path / "own"
    prior = Diagonal(3)
    run = nr.fit(vae, prior=prior, out=out, steps=300, lr=3e-2, seed=3, progress=False)
    assert run.model.prior is prior
    codes = run.encode()["z"]
    np.testing.assert_allclose(prior.mean.detach(), codes.mean(0), atol=0.3)
    np.testing.assert_allclose(prior.log_scale.detach().exp(), codes.std(0), rtol=0.3)
    assert run.recipe.prior == {"text": "custom", "shape": [3], "codes": 0}
    again = nr.load(out, prior=Diagonal(3))
    np.testing.assert_array_equal(again.sample(5, spread=0.5), run.sample(5, spread=0.5))
    more = nr.resume(out, prior=Diagonal(3), steps=310, progress=False)
    assert more.metrics[-1]["step"] == 310
    for folder, given, match in (
        (out, None, "was an object"),
        (vae, Diagonal(3), "left out"),
        (out, Diagonal(4), "do not fit its recipe"),
    ):
        with pytest.raises(RequestError, match=match):
            nr.load(folder, prior=given)


def test_an_object_takes_the_place_of_a_methods_own_prior(tokens, tmp_path):
    prior = MaskGIT(nr.load(tokens).model.prior.symbols, width=8, depth=1)
    run = second(tokens, tmp_path / "m", prior, steps=5)
    assert run.model.prior is prior
    given = MaskGIT(prior.symbols, width=8, depth=1)
    whole = nr.fit(
        "digits", "vq-vae", tmp_path / "w", prior=given, codes=16, width=4, steps=5, progress=False
    )
    assert whole.model.prior is given
    assert [end["stage"] for end in json.loads((whole.path / "result.json").read_text())["stages"]] == [
        "autoencoder",
        "prior",
    ]
    assert whole.sample(2, steps=3).shape == (2, 1, 8, 8)


def test_an_object_that_is_no_prior_of_these_codes_is_refused(vae, tokens, tmp_path):
    for data, wrong, match in (
        (vae, 5, "a text such as 'autoregressive', or a Prior"),
        (tokens, Diagonal(3), "one that reads .* indices of 16 codes"),
        (tokens, MaskGIT(Symbols((3,), codes=16), width=8), "This one is for 3 indices of 16 codes"),
    ):
        with pytest.raises(RequestError, match=match):
            nr.fit(data, prior=wrong, out=tmp_path / "no", steps=5, progress=False)
    assert not (tmp_path / "no").exists()


def test_options_that_a_prior_does_not_draw_with_are_refused_with_the_list(vae, tmp_path):
    run = second(vae, tmp_path / "f", steps=2)
    with pytest.raises(RequestError, match="It has `steps`, `sampler`, `guidance`"):
        run.sample(3, temperature=0.5)
    with pytest.raises(RequestError, match="one of `euler`, `heun`, `ab2`, `rk4`"):
        run.sample(3, sampler="ddim")
    with pytest.raises(RequestError, match="nothing to set"):
        nr.load(vae).sample(3, steps=5)
