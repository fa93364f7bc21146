"""`convert`, and `audit` of a dictionary of another library."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

FIXTURES = Path(__file__).parents[1] / "fixtures" / "exchange"


def test_convert_says_what_it_wrote(cli, tmp_path):
    code, out, err = cli(
        "convert", FIXTURES / "saelens-gated", tmp_path / "dl", "--to", "dictionary_learning"
    )
    assert (code, out) == (0, "")
    assert f"Wrote {tmp_path / 'dl'}: gated sae" in err
    code, out, _ = cli(
        "convert", tmp_path / "dl", tmp_path / "back", "--to", "saelens", "--allow-pickle", "--json"
    )
    assert code == 0
    assert json.loads(out)["lost"] == {"results": [], "facts": []}


def test_a_pickle_is_refused_without_its_option(refused, tmp_path):
    said = refused("convert", FIXTURES / "dictionary_learning-topk", tmp_path / "out", "--to", "narrows")
    assert "--allow-pickle" in said
    assert list(tmp_path.iterdir()) == []


def test_losses_are_listed(cli, refused, tmp_path):
    said = refused(
        "convert", FIXTURES / "saelens-layer-norm", tmp_path / "out", "--to", "dictionary_learning"
    )
    assert "the norm of each example" in said
    assert "--force" in said
    _, _, err = cli("convert", FIXTURES / "saelens-topk", tmp_path / "sp", "--to", "sparsify")
    assert "sparsify does not hold" in err


def test_another_reading(cli, refused, tmp_path):
    code, _, _ = cli(
        "convert", FIXTURES / "saelens-standard", tmp_path / "out", "--to", "saelens", "--as", "no-centre"
    )
    assert code == 0
    assert json.loads((tmp_path / "out" / "cfg.json").read_text())["apply_b_dec_to_input"] is False
    said = refused(
        "convert", FIXTURES / "saelens-standard", tmp_path / "o", "--to", "saelens", "--as", "wrong"
    )
    assert "`--as` must be the name of a reading, but got 'wrong'" in said


def test_a_foreign_folder_is_encoded(cli, tmp_path):
    torch.manual_seed(0)
    width = json.loads((FIXTURES / "saelens-topk" / "cfg.json").read_text())["d_in"]
    save_file({"x": torch.randn(5, width)}, tmp_path / "x.safetensors")
    code, _, _ = cli(
        "encode", FIXTURES / "saelens-topk", tmp_path / "x.safetensors", "--out", tmp_path / "codes.npz"
    )
    assert code == 0
    assert (tmp_path / "codes.npz").is_file()


@pytest.fixture
def story_sae(tmp_path, monkeypatch):
    """A dictionary in the format of SAELens whose metadata name the story model and a hook point."""
    monkeypatch.chdir(tmp_path)
    g, folder = torch.Generator().manual_seed(0), tmp_path / "sae"
    folder.mkdir()
    atoms = torch.nn.functional.normalize(torch.randn(96, 64, generator=g), dim=1)
    tensors = {
        "W_enc": atoms.T.contiguous(),
        "W_dec": atoms,
        "b_enc": torch.zeros(96),
        "b_dec": torch.zeros(64),
    }
    save_file(tensors, folder / "sae_weights.safetensors")
    metadata = {"model_name": "stories260K", "hook_name": "blocks.2.hook_resid_post"}
    config = {"architecture": "topk", "k": 8, "d_in": 64, "d_sae": 96, "metadata": metadata}
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


def test_audit_on_the_activations_of_a_model(cli, story_sae, story_folder):
    code, out, err = cli("audit", story_sae, "--model", story_folder, "--tokens", 600, "--json")
    assert code == 0
    found = {check["name"]: check["value"] for check in json.loads(out)["checks"]}
    assert found["l0"] == pytest.approx(8)
    assert "splice/ce" in found
    assert "Read as its configuration says" in err
    assert sorted(p.name for p in story_sae.iterdir()) == ["cfg.json", "sae_weights.safetensors"]


def test_audit_at_another_hook_point_or_model(refused, story_sae, story_folder):
    said = refused("audit", story_sae, "--model", story_folder, "--place", "resid.1")
    assert "trained on the hook point `resid.2`, as its metadata say, not on `resid.1`" in said
    said = refused("audit", story_sae, "--model", "other-model", "--place", "resid.2")
    assert "trained on the model `stories260K`" in said


def test_audit_of_a_foreign_run_without_its_model(refused, story_sae):
    said = refused("audit", story_sae)
    assert "without its data" in said
    assert "--model MODEL --place resid.3" in said


def test_audit_of_a_model_of_another_width(cli, story_sae, story_folder):
    path = story_sae / "cfg.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "d_in": 32}))
    g = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (32, 96), "W_dec": (96, 32), "b_enc": (96,), "b_dec": (32,)}
    tensors = {name: torch.randn(*shape, generator=g) for name, shape in shapes.items()}
    save_file(tensors, story_sae / "sae_weights.safetensors")
    code, _, err = cli("audit", story_sae, "--model", story_folder, "--tokens", 300)
    assert code == 2
    assert "width 32, but `resid.2`" in err
