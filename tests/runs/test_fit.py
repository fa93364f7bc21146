"""`fit`, `load` and the verbs of a run: what they return, and what they refuse."""

import errno
import json
import os

import numpy as np
import pytest
import torch

import narrows as nr
from narrows.core import Spec
from narrows.core.check import RequestError, UnknownNameError, UnknownOptionError, WorkError
from narrows.data import Dataset, Scaling, Source
from narrows.train.checkpoint import write_checkpoint

SMALL = {"latent": 4, "net": "mlp:16", "steps": 30, "progress": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return nr.fit("digits", method="vae", out=tmp_path_factory.mktemp("runs") / "vae", **SMALL)


def test_the_folder_holds_what_the_readme_says(run):
    names = {p.name for p in run.path.iterdir()}
    assert {"recipe.json", "model.safetensors", "state", "metrics.jsonl", "README.md", "result.json"} <= names
    recipe = json.loads((run.path / "recipe.json").read_text())
    assert recipe["method"] == "vae"
    assert recipe["arguments"] == {"latent": 4, "net": "mlp:16"}
    assert recipe["training"]["steps"] == 30
    assert (run.path / "README.md").read_text().startswith("---\nlibrary_name: narrows")


def test_loaded_equals_fitted(run):
    again = nr.load(run.path)
    for name, value in run.encode().items():
        assert np.array_equal(value, again.encode()[name]), name
    assert np.array_equal(run.sample(5), again.sample(5))
    assert np.array_equal(run.score(), again.score())
    assert again.recipe == run.recipe


def test_encode_then_decode_is_reconstruct(run):
    np.testing.assert_allclose(run.decode(run.encode()), run.reconstruct(), atol=1e-5)
    assert run.reconstruct().shape == (len(run.data.test), 1, 8, 8)
    assert run.reconstruct().max() > 2  # in the units of the data, 0..16, not of the model, 0..1


def test_arrays_are_read_with_the_runs_scaling(run):
    stored = run.data.test.x[:7].numpy()
    ours = run.encode(stored)["z"]
    np.testing.assert_allclose(ours, run.encode()["z"][:7], atol=1e-6)


def test_interpolation_ends_at_its_ends(run):
    line = run.interpolate(i=3, j=5, steps=4)
    ends = run.reconstruct()[[3, 5]]
    np.testing.assert_allclose(line[[0, -1]], ends, atol=1e-4)
    assert line.shape == (4, 1, 8, 8)


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        (lambda r: r.interpolate(i=0, j=10**6), "`to` must be a whole number from 0"),
        (lambda r: r.sample(0), "`n` must be"),
        (lambda r: r.sample(3, label=2), "`label` must be left out"),
        (lambda r: r.encode(np.zeros((3, 9, 9), np.float32)), "shape"),
        (lambda r: r.decode({"y": np.zeros(3)}), "`z` or `indices`"),
        (lambda r: r.encode("no-such-data"), "no data set"),
    ],
)
def test_verbs_refuse_in_a_sentence(run, verb, words):
    with pytest.raises(RequestError, match=words):
        verb(run)


def test_a_folder_that_exists_is_not_touched(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match="nothing is overwritten"):
        nr.fit("digits", out=tmp_path, **SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_unknown_names_and_options_name_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match="`beta-tcvae`"):
        nr.fit("digits", method="beta-tcvea", out=tmp_path / "a", progress=False)
    with pytest.raises(UnknownOptionError, match="`latent`"):
        nr.fit("digits", method="vae", latnt=3, out=tmp_path / "b", progress=False)
    with pytest.raises(TypeError):
        nr.fit("digits", method="vae", latnt=3, out=tmp_path / "b", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_an_option_of_a_part_and_more_codes_than_tokens_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UnknownOptionError, match=r"codebook: `codebook='ema:restart=0\.1'`"):
        nr.fit("digits", method="rq-vae", restart=0.1, out=tmp_path / "a", progress=False)
    with pytest.raises(RequestError, match="`codes` must be at most 5176: k-means starts them"):
        nr.fit("digits", method="vq-vae", codes=10_000, out=tmp_path / "a", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_damaged_weights_are_not_believed(tmp_path):
    run = nr.fit("digits", method="ae", out=tmp_path / "run", **SMALL)
    path = run.path / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RequestError, match="its checksum does not match"):
        nr.load(run.path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda r: r.update(format=99),
        lambda r: r.pop("method"),
        lambda r: r["spec"].update(shape=["x"]),
        lambda r: r["arguments"].update(latnt=3),
        lambda r: r.update(method="no-such-method"),
    ],
)
def test_an_edited_recipe_is_checked(tmp_path, run, edit):
    recipe = json.loads((run.path / "recipe.json").read_text())
    edit(recipe)
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(RequestError):
        nr.load(tmp_path)


def test_a_full_disk_is_said_and_keeps_what_was_there(tmp_path, monkeypatch):
    write_checkpoint(tmp_path / "state", 1, {"a": torch.ones(3)}, {})
    before = {p.name: p.read_bytes() for p in (tmp_path / "state").iterdir()}

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorkError, match=f"No space is left .* narrows resume {tmp_path}"):
        write_checkpoint(tmp_path / "state", 2, {"a": torch.zeros(3)}, {})
    assert {p.name: p.read_bytes() for p in (tmp_path / "state").iterdir()} == before


def test_a_model_assembled_by_hand_is_kept_and_loaded_with_its_builder(tmp_path):
    from narrows.methods.variational.vae import vae

    model = vae((1, 8, 8), latent=3, net="mlp:8")
    run = nr.fit("digits", method=model, out=tmp_path / "mine", steps=5, progress=False)
    assert run.method == "custom"
    with pytest.raises(RequestError, match="built by code of your own"):
        nr.load(run.path)
    again = nr.load(run.path, method=lambda spec: vae((1, 8, 8), latent=3, net="mlp:8"))
    assert np.array_equal(run.encode()["z"], again.encode()["z"])
    with pytest.raises(RequestError, match="do not fit"):
        nr.load(run.path, method=lambda spec: vae(spec, latent=5, net="mlp:8"))


def test_a_builder_function_is_known_by_its_name(tmp_path):
    from narrows.methods.variational.vae import vae

    run = nr.fit("digits", method=vae, out=tmp_path / "run", **SMALL)
    assert run.method == nr.load(run.path).method == "vae"


def test_nan_in_training_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(WorkError, match="the term"):
        nr.fit("digits", method="ae", out=tmp_path / "run", lr=1e30, steps=200, progress=False)
    assert list((tmp_path / "run" / "state").glob("*.safetensors"))
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert nr.load(tmp_path / "run").method == "ae"


def test_bf16_trains(tmp_path):
    run = nr.fit("digits", method="vae", out=tmp_path / "run", precision="bf16", **SMALL)
    assert run.metrics[-1]["autoencoder/loss"] < run.metrics[0]["autoencoder/loss"] * 1.5


def test_a_method_that_is_told_gradients_has_nothing_to_sample(tmp_path):
    x, gradients = np.random.default_rng(0).normal(size=(2, 60, 6)).astype(np.float32)
    stores = {"scaling": Scaling(), "shape": (6,)}
    train = Dataset(torch.from_numpy(x), columns={"gradients": torch.from_numpy(gradients)}, **stores)
    source = Source("told", train, train, Spec((6,), "real"), {"what": "told"})
    run = nr.fit(source, "gradient-sae", tmp_path / "r", latents=12, k=2, steps=2, progress=False)
    with pytest.raises(
        RequestError, match="conditioned on the gradients of each example, which has no prior"
    ):
        run.sample(3)
    with pytest.raises(RequestError, match="`label` must be left out"):
        run.sample(3, label=1)
    assert run.audit(write=False).get("fvu") is not None


def test_a_sparse_code_that_is_never_on_can_be_audited(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    run = nr.fit(x, "relu-sae", tmp_path / "r", latents=12, steps=2, progress=False)
    with torch.no_grad():
        for name, value in run.model.named_parameters():
            if ("encoder" in name and value.dim() == 1) or name.endswith("b_enc"):
                value.fill_(-1e6)
    assert not run.encode()["z"].any()
    report = run.audit()
    assert report["l0"].value == 0
    assert (run.path / "report.html").is_file()
    assert not (run.path / "features.html").exists()
