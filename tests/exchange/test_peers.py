"""Files of other libraries are read with the codes and reconstructions that these libraries compute."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from narrows.core import Batch, dense
from narrows.core.check import RequestError
from narrows.exchange.convert import convert, read
from narrows.exchange.fold import folded
from narrows.exchange.model import build
from narrows.exchange.threshold import thresholded

FIXTURES = Path(__file__).parents[1] / "fixtures" / "exchange"
LIBRARIES = ("circuit_tracer", "gemma-scope", "llama-scope", "llamascopium", "openai")
NAMES = sorted(
    path.name.removesuffix(".codes.safetensors")
    for path in FIXTURES.glob("*.codes.safetensors")
    if path.name.startswith(LIBRARIES)
)
REFUSED = {"llamascopium-glu": "a gated linear unit"}


@torch.no_grad()
def computed(path, x, **options):
    """Codes (B, N) and reconstructions of a file, by our model."""
    description = read(path, allow_pickle=True, **options)
    model = build(description)
    batch = (
        Batch(x) if description.kind == "sae" else Batch(x, x.new_zeros(len(x), *model_target(description)))
    )
    return description, dense(model.features(batch)), model.reconstruct(batch)


def model_target(description):
    return (
        (description.layers, description.output_width)
        if description.kind == "cross-layer"
        else (description.output_width,)
    )


def close(found, expected):
    size = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found.reshape(expected.shape), expected, atol=1e-5 * size, rtol=0)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if "set" not in name.split("-") and name not in REFUSED]
)
def test_codes_are_those_of_the_library(name):
    stored = load_file(FIXTURES / f"{name}.codes.safetensors")
    description, z, y = computed(FIXTURES / name, stored["x"])
    codes = stored["codes"]
    assert torch.equal(z.reshape(codes.shape) != 0, codes != 0)
    if description.by_norm and description.format == "llamascopium":  # theirs are divided by the norms
        codes = codes * torch.linalg.vector_norm(description.tensors["decoder"].float(), dim=1)
    close(z, codes)
    close(y, stored["reconstruction"])


@pytest.mark.parametrize("name", [name for name in NAMES if "set" in name.split("-")])
def test_every_layer_of_a_set_is_read(name):
    stored = load_file(FIXTURES / f"{name}.codes.safetensors")
    for layer in range(3):
        _, z, y = computed(FIXTURES / name / f"layer_{layer}.safetensors", stored["x"][:, layer])
        assert torch.equal(z != 0, stored["codes"][:, layer] != 0)
        close(z, stored["codes"][:, layer])
        close(y, stored["reconstruction"][:, layer])


@pytest.mark.parametrize(("name", "sentence"), REFUSED.items())
def test_what_no_method_computes_is_refused(name, sentence):
    with pytest.raises(RequestError, match=sentence):
        read(FIXTURES / name)


def files_of(folder):
    """The tensors of all files of a folder."""
    return {
        f"{path.relative_to(folder)}/{name}": tensor
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def equal(one, two):
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.equal(two[name], tensor), name
        assert two[name].dtype == tensor.dtype


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("circuit_tracer")])
def test_circuit_tracer_through_a_run_and_back_is_exact(name, tmp_path):
    quiet = {"say": lambda text: None}
    there = convert(FIXTURES / name, tmp_path / "runs", "narrows", **quiet)
    assert there.count == (3 if "set" in name.split("-") else 1)
    done = convert(tmp_path / "runs", tmp_path / "back", "circuit-tracer", **quiet)
    assert not done.losses
    equal(files_of(tmp_path / "back"), files_of(FIXTURES / name))
    text = (FIXTURES / name / "config.yaml").read_text()
    assert (tmp_path / "back" / "config.yaml").read_text() == text


@pytest.mark.parametrize("name", ["gemma-scope", "gemma-scope-embedding"])
def test_gemma_scope_through_a_run_and_back_is_exact(name, tmp_path):
    quiet = {"say": lambda text: None}
    convert(FIXTURES / name, tmp_path / "run", "narrows")
    convert(tmp_path / "run", tmp_path / "back", "gemma-scope", **quiet)
    (old,) = (FIXTURES / name).rglob("params.npz")
    with np.load(old) as one, np.load(tmp_path / "back" / "params.npz") as two:
        assert {key.lower() for key in one} == {key.lower() for key in two}
        for key in one:
            assert np.array_equal(one[key], two[key.replace("w_", "W_")])


@pytest.mark.parametrize("name", [name for name in NAMES if "clt" in name.split("-")])
def test_a_cross_layer_transcoder_through_a_run_folder_is_exact(name, tmp_path):
    before = read(FIXTURES / name)
    convert(FIXTURES / name, tmp_path / "run", "narrows")
    after = read(tmp_path / "run")
    equal(dict(before.tensors), dict(after.tensors))
    assert (after.activation, after.kind, after.layers) == (before.activation, "cross-layer", 3)


@torch.no_grad()
def test_folding_the_factors_of_layers_computes_the_same():
    stored = load_file(FIXTURES / "llamascopium-clt.codes.safetensors")
    model = build(folded(read(FIXTURES / "llamascopium-clt")))
    assert not model.encoder.normalise
    close(model.reconstruct(Batch(stored["x"], stored["x"])), stored["reconstruction"])


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("circuit_tracer-clt-relu", "W_enc_1.safetensors"),
        ("circuit_tracer-clt-relu", "W_dec_1.safetensors"),
        ("circuit_tracer-clt-relu", "W_dec_2.safetensors"),
        ("circuit_tracer-set-relu", "layer_1.safetensors"),
        ("gemma-scope-2-clt", "params_layer_0.safetensors"),
        ("gemma-scope-2-clt", "params_layer_2.safetensors"),
    ],
)
def test_a_missing_layer_is_refused(name, file, tmp_path):
    copy = Path(shutil.copytree(FIXTURES / name, tmp_path / "copy"))
    (copy / file).unlink()
    with pytest.raises(RequestError, match=r"lacks|contradicts|missing"):
        convert(copy, tmp_path / "out", "narrows")
    assert not (tmp_path / "out").exists()


def test_a_set_without_a_layer_is_not_written(tmp_path):
    convert(FIXTURES / "circuit_tracer-set-relu", tmp_path / "runs", "narrows")
    shutil.rmtree(tmp_path / "runs" / "layer_1")
    with pytest.raises(RequestError, match="these are of layers 0, 2"):
        convert(tmp_path / "runs", tmp_path / "out", "circuit-tracer")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "file", "change", "sentence"),
    [
        ("gemma-scope-2-sae", "config.json", {"affine_connection": True}, "whether there is an affine skip"),
        (
            "gemma-scope-2-transcoder",
            "config.json",
            {"affine_connection": False},
            "whether there is an affine",
        ),
        ("gemma-scope-2-sae", "config.json", {"width": 19}, "has 20 latents, and config.json says 19"),
        ("gemma-scope-2-sae", "config.json", {"architecture": "topk"}, "`topk` is not known"),
        ("llama-scope", "hyperparams.json", {"d_sae": 21}, "contradicts its configuration"),
        ("llama-scope", "hyperparams.json", {"dataset_average_activation_norm": {"in": 5.0}}, "norm.out"),
        ("llamascopium-jumprelu", "config.json", {"act_fn": "relu"}, "that its architecture does not have"),
        ("llamascopium-relu", "config.json", {"act_fn": "jumprelu"}, "lacks the tensor"),
        ("llamascopium-relu", "config.json", {"act_fn": "batchtopk"}, "depend on the batch"),
        ("llamascopium-relu", "config.json", {"sae_type": "lorsa"}, "`lorsa` is not read"),
        ("llamascopium-clt", "config.json", {"hook_points_in": ["a", "b"]}, "must list all layers"),
    ],
)
def test_a_contradiction_is_refused(name, file, change, sentence, tmp_path):
    copy = Path(shutil.copytree(FIXTURES / name, tmp_path / "copy"))
    config = json.loads((copy / file).read_text())
    (copy / file).write_text(json.dumps({**config, **change}))
    with pytest.raises(RequestError, match=re.escape(sentence)):
        read(copy)


def test_pickles_need_permission_and_cut_files_are_refused(tmp_path):
    with pytest.raises(RequestError, match="pickle"):
        read(FIXTURES / "openai-topk")
    for name, file in (("gemma-scope", "params.npz"), ("circuit_tracer-clt-relu", "W_enc_0.safetensors")):
        copy = Path(shutil.copytree(FIXTURES / name, tmp_path / name))
        (path,) = copy.rglob(file)
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(RequestError, match="damaged"):
            read(copy)


@torch.no_grad()
def test_the_threshold_of_llama_scope_is_the_reading_with_the_stated_l0():
    stored = load_file(FIXTURES / "llama-scope-transcoder.codes.safetensors")
    found = {}
    for reading in ("", "threshold-up", "threshold-down"):
        description, z, _ = computed(FIXTURES / "llama-scope-transcoder", stored["x"], reading=reading)
        found[reading] = abs(float((z != 0).sum(1).float().mean()) - description.promises["l0"])
    assert min(found, key=found.get) == ""


@torch.no_grad()
def test_a_threshold_keeps_the_number_of_active_latents():
    description = read(FIXTURES / "sparsify-topk" / "layers.2")
    x = torch.randn(5000, 12, generator=torch.Generator().manual_seed(0))
    after = thresholded(description, x)
    w, b, c = (description.tensors[name] for name in ("encoder", "encoder_bias", "decoder_bias"))
    h = ((x - c) @ w.T + b).relu()
    order = h.flatten().sort(descending=True).values
    n = description.k * len(x)
    theta = float(after.tensors["threshold"][0])
    assert order[n] - 1e-5 <= theta <= order[n] + 1e-5
    z = dense(build(after).features(Batch(x)))
    assert abs(int((z != 0).sum()) - n) <= 1
    with pytest.raises(RequestError, match="TopK over all latents"):
        thresholded(after, x)
