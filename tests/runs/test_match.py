"""`narrows match`: runs whose dictionaries are known."""

import json

import numpy as np
import pytest
import torch

import narrows as nr
from narrows.cli.main import run as narrows
from narrows.core.check import RequestError
from narrows.runs.match import match, rows_of

HOW = {"latents": 24, "progress": False, "steps": 30}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two seeds of a JumpReLU code."""
    folder = tmp_path_factory.mktemp("match") / "g"
    nr.fit("digits", "jumprelu-sae", folder, seeds=2, **HOW)
    return folder


def changed(path, folder):
    """A copy of a run whose latents are in another order and other units; it computes the same."""
    import shutil

    from safetensors.torch import save_file

    from narrows.core import files

    shutil.copytree(path, folder)
    run = nr.load(folder)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    scale = torch.logspace(-1, 1, 24)
    state = run.model.state_dict()
    state["decoder.atoms"] = (state["decoder.atoms"] / scale[:, None])[order]
    state["encoder.weight"] = (state["encoder.weight"] * scale[:, None])[order]
    state["encoder.bias"] = (state["encoder.bias"] * scale)[order]
    state["bottleneck.threshold"] = (
        state["bottleneck.threshold"] + scale.log() / run.model.bottleneck.speed
    )[order]
    save_file(state, folder / "model.safetensors")
    result = json.loads((folder / "result.json").read_text())
    result["sha256"] = files.sha256(folder / "model.safetensors")
    (folder / "result.json").write_text(json.dumps(result))
    return order


def test_the_rows_are_those_of_the_model(trained):
    run = nr.load(trained / "seed-0")
    rows = rows_of(run)
    x = torch.randn(50, 64)
    h = (x - run.model.decoder.bias) @ rows.encoder.T + rows.bias
    z = run.model.bottleneck(run.model.encoder(x)).z
    assert torch.allclose(z, h * (h > rows.threshold), atol=1e-5)


def test_a_permuted_and_rescaled_run_is_recognised(trained, tmp_path):
    order = changed(trained / "seed-0", tmp_path / "moved")
    a, b = nr.load(trained / "seed-0"), nr.load(tmp_path / "moved")
    assert np.allclose(a.reconstruct(), b.reconstruct(), atol=1e-4)
    found = match([a, b], ["digits"])
    held = {check.name: check for check in found.pairs[0].checks}
    assert held["match/exact"].value == 1
    assert held["match/shared"].value == 1
    assert held["match/folded"].value < 1e-6 < held["match/folded"].chance
    assert {p["a"]: p["b"] for p in found.pairs[0].partners} == {int(i): n for n, i in enumerate(order)}
    assert held["universality/correlation"].value == pytest.approx(1, abs=1e-3)
    assert held["universality/correlation"].chance < 0.3
    assert "same seed" in found.warnings[0]


def test_independent_runs_share_less_and_carry_their_chance(trained):
    found = match([trained])
    held = {check.name: check for check in found.pairs[0].checks}
    assert held["match/exact"].value == 0
    assert 0.1 < held["match/decoder"].chance < held["match/decoder"].value < 1
    assert held["match/decoder"].n == 24
    assert found.warnings == ()


def test_signed_codes_are_matched_by_absolute_cosines(tmp_path):
    run = nr.fit("digits", "abstopk-sae", tmp_path / "a", **HOW, k=4)
    other = nr.load(run.path)
    with torch.no_grad():
        other.model.decoder.atoms.neg_()
        other.model.encoder.weight.neg_()
    other.path = tmp_path / "b"
    held = {c.name: c.value for c in match([run, other]).pairs[0].checks}
    assert held["match/decoder"] == pytest.approx(1)


def test_dictionaries_of_different_models_need_the_same_tokens(tmp_path):
    rows = np.random.default_rng(0).normal(size=(600, 8)).astype(np.float32)
    other = np.concatenate([rows @ np.random.default_rng(1).normal(size=(8, 12)), rows[:, :2]], 1)
    np.save(tmp_path / "a.npy", rows)
    np.save(tmp_path / "b.npy", other.astype(np.float32))
    runs = [
        nr.fit(str(tmp_path / f"{name}.npy"), "topk-sae", tmp_path / name, k=3, **HOW) for name in ("a", "b")
    ]
    with pytest.raises(RequestError, match="compared by their latents on the same tokens"):
        match(runs)
    found = match(runs, [str(tmp_path / "a.npy"), str(tmp_path / "b.npy")])
    names = [check.name for check in found.pairs[0].checks]
    assert names[0] == "universality/matched"
    assert not any(name.startswith("match/") for name in names)
    svcca = next(check for check in found.pairs[0].checks if check.name == "universality/svcca")
    assert svcca.value is None
    assert svcca.says.startswith("Not measured: ")
    with pytest.raises(RequestError, match="same tokens"):
        match(runs, [str(tmp_path / "a.npy"), other[:100]])
    with pytest.raises(RequestError, match="one data set, or one for each"):
        match(runs, ["x", "y", "z"])


def test_unrelated_latents_have_few_partners(tmp_path):
    """Of many rare latents some are correlated by chance: as many as on shuffled tokens are no partners."""
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", draw.normal(size=(900, 16)).astype(np.float32))
    how = {"latents": 64, "k": 4, "steps": 1, "progress": False}
    runs = [
        nr.fit(str(tmp_path / f"{name}.npy"), "topk-sae", tmp_path / name, seed=n, **how)
        for n, name in enumerate("ab")
    ]
    held = {
        c.name: c for c in match(runs, [str(tmp_path / "a.npy"), str(tmp_path / "b.npy")]).pairs[0].checks
    }
    assert held["universality/matched"].value < 0.1
    assert held["universality/matched"].chance < 0.1


def test_what_has_no_dictionary_is_refused(trained, tmp_path):
    vae = nr.fit("digits", "ae", tmp_path / "ae", steps=2, progress=False)
    with pytest.raises(RequestError, match="whose decoder is a dictionary"):
        match([trained, vae])
    with pytest.raises(RequestError, match="at least two"):
        match([trained / "seed-0"])
    with pytest.raises(RequestError, match="given twice"):
        match([trained / "seed-0", trained / "seed-0"])
    with pytest.raises(RequestError, match="is not a run"):
        match([trained / "seed-0", tmp_path])


def test_the_command(trained, tmp_path, capsys):
    page = tmp_path / "m.html"
    words = ["match", str(trained), "--on", "digits", "--limit", "400", "--out", str(page)]
    assert narrows([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    pair = document["pairs"][0]
    assert (pair["a"], pair["b"]) == ("seed-0", "seed-1")
    assert len(pair["partners"]) == 24
    assert {"value", "chance", "n"} <= set(pair["checks"][0])
    assert "Cosines of partners" in page.read_text()
    assert narrows(words) == 2  # the page exists
    assert narrows([*words, "--force"]) == 0
    assert "match/shared" in capsys.readouterr().out


def test_a_dictionary_of_another_library_is_its_conversion(tmp_path, capsys):
    from pathlib import Path

    source = Path(__file__).parents[1] / "fixtures" / "exchange" / "saelens-jumprelu"
    assert narrows(["convert", str(source), str(tmp_path / "ours"), "--to", "narrows"]) == 0
    capsys.readouterr()
    assert narrows(["match", str(source), str(tmp_path / "ours"), "--json"]) == 0
    checks = json.loads(capsys.readouterr().out)["pairs"][0]["checks"]
    assert {c["name"]: c["value"] for c in checks}["match/exact"] == 1
