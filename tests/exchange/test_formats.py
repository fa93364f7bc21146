"""Files that other libraries wrote: codes, reconstructions and round trips."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import narrows as nr
from narrows.core import Batch, dense
from narrows.core.check import RequestError
from narrows.exchange.convert import convert, read
from narrows.exchange.model import build

FIXTURES = Path(__file__).parents[1] / "fixtures" / "exchange"
LIBRARIES = ("saelens", "sparsify", "dictionary_learning")
NAMES = sorted(
    path.name.removesuffix(".codes.safetensors")
    for path in FIXTURES.glob("*.codes.safetensors")
    if path.name.startswith(LIBRARIES)
)


def folder_of(name):
    """The folder with the weights, which sparsify puts below that of its run."""
    weights = ("sae_weights.safetensors", "sae.safetensors", "ae.pt")
    return next(path.parent for path in sorted((FIXTURES / name).rglob("*")) if path.name in weights)


def test_there_are_fixtures_of_each_library():
    assert len(NAMES) >= 30
    assert {name.split("-")[0] for name in NAMES} == set(LIBRARIES)


@pytest.mark.parametrize("name", NAMES)
def test_codes_and_reconstructions_are_those_of_the_library(name):
    given = load_file(FIXTURES / f"{name}.codes.safetensors")
    model, batch = build(read(folder_of(name), allow_pickle=True)), Batch(given["x"])
    z = model.encode(batch).z
    codes = dense(z[0] if isinstance(z, tuple) else z)
    assert torch.equal(codes != 0, given["codes"] != 0)
    assert torch.allclose(codes, given["codes"], atol=1e-5)
    assert torch.allclose(model.reconstruct(batch), given["reconstruction"], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_round_trip_through_a_run_folder_is_exact(name, tmp_path):
    before = read(folder_of(name), allow_pickle=True)
    convert(folder_of(name), tmp_path / "run", "narrows", allow_pickle=True)
    own = name.split("-")[0]
    done = convert(tmp_path / "run", tmp_path / "back", own, say=lambda text: None)
    after = read(tmp_path / "back", allow_pickle=True)
    for key, tensor in before.tensors.items():
        assert torch.equal(after.tensors[key], tensor), key
        assert after.tensors[key].dtype == tensor.dtype
    assert not done.losses.results
    fields = ("activation", "kind", "centre", "k", "token_norm", "by_norm", "scale", "options")
    assert {f: getattr(after, f) for f in fields} == {f: getattr(before, f) for f in fields}
    x = load_file(FIXTURES / f"{name}.codes.safetensors")["x"].numpy()
    two = [nr.load(path, **how).reconstruct(x) for path, how in _both(tmp_path / "run", folder_of(name))]
    assert abs(two[0] - two[1]).max() < 1e-5  # transposed views are summed in another order


def _both(run, foreign):
    return [(run, {}), (foreign, {"allow_pickle": True})]


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("saelens") and "old" not in n])
def test_the_configuration_of_saelens_comes_back(name, tmp_path):
    convert(folder_of(name), tmp_path / "run", "narrows")
    convert(tmp_path / "run", tmp_path / "back", "saelens", say=lambda text: None)
    before, after = (json.loads((p / "cfg.json").read_text()) for p in (folder_of(name), tmp_path / "back"))
    assert after == before


def test_gated_saelens_to_dictionary_learning_and_back(tmp_path):
    first = FIXTURES / "saelens-gated"
    convert(first, tmp_path / "dl", "dictionary_learning")
    convert(tmp_path / "dl", tmp_path / "back", "saelens", allow_pickle=True)
    before, after = (load_file(p / "sae_weights.safetensors") for p in (first, tmp_path / "back"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert json.loads((tmp_path / "back" / "cfg.json").read_text()) == json.loads(
        (first / "cfg.json").read_text()
    )


def test_a_foreign_folder_is_a_run_that_is_only_read(tmp_path):
    name = "saelens-jumprelu"
    given = load_file(FIXTURES / f"{name}.codes.safetensors")
    before = sorted(p.name for p in (FIXTURES / name).iterdir())
    run = nr.load(FIXTURES / name)
    codes = run.encode(given["x"].numpy())
    assert torch.allclose(torch.from_numpy(codes["features"]), given["codes"], atol=1e-5)
    assert torch.allclose(torch.from_numpy(run.decode(codes)), given["reconstruction"], atol=1e-5)
    report = run.audit(given["x"].numpy(), out=tmp_path, features=False)
    assert report.get("l0").value == pytest.approx(float((given["codes"] != 0).sum(1).float().mean()))
    assert sorted(p.name for p in (FIXTURES / name).iterdir()) == before


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("relu-sae", {}),
        ("topk-sae", {"k": 3}),
        ("jumprelu-sae", {}),
        ("gated-sae", {}),
        ("batchtopk-sae", {"k": 3}),
        ("mp-sae", {"k": 3}),
    ],
)
def test_a_fit_of_ours_is_written_and_read_back(method, options, tmp_path):
    data = torch.randn(256, 10).numpy()
    run = nr.fit(
        data,
        method,
        tmp_path / "run",
        steps=20,
        latents=24,
        progress=False,
        data_options={"scale": "none"},
        **options,
    )
    convert(tmp_path / "run", tmp_path / "sl", "saelens", say=lambda text: None)
    theirs = nr.load(tmp_path / "sl")
    if method != "batchtopk-sae":  # whose inference is written as JumpReLU
        assert theirs.method == method
    assert abs(run.reconstruct(data) - theirs.reconstruct(data)).max() < 1e-5


@pytest.mark.parametrize("centre", [True, False])
def test_the_scaling_of_the_data_is_folded_when_asked(centre, tmp_path):
    data = (torch.randn(256, 10) * torch.arange(1, 11) + 7).numpy()
    run = nr.fit(data, "relu-sae", tmp_path / "run", steps=20, latents=24, progress=False, centre=centre)
    with pytest.raises(RequestError, match="scaling of the data"):
        convert(tmp_path / "run", tmp_path / "sl", "saelens")
    assert not (tmp_path / "sl").exists()
    convert(tmp_path / "run", tmp_path / "sl", "saelens", fold=True)
    theirs = nr.load(tmp_path / "sl").reconstruct(data)
    assert abs(run.reconstruct(data) - theirs).max() < 1e-3 * abs(data).max()


def test_memory_is_shared_with_the_file(tmp_path):
    description = read(FIXTURES / "saelens-standard")
    model = build(description)
    assert model.decoder.atoms.data_ptr() == description.tensors["decoder"].data_ptr()
    assert model.encoder.weight.data_ptr() == description.tensors["encoder"].data_ptr()
