"""`convert`, and `audit` of a dictionary of another library."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import narrows
from narrows.activations.models import load
from narrows.core.check import RequestError
from narrows.runs.harvesting.driver import harvest

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


@pytest.mark.parametrize(
    "verb", ["encode", "reconstruct", "interpolate", "score", "decode", "features", "match"]
)
def test_a_pickle_and_a_reading_are_options_of_each_verb(cli, refused, tmp_path, verb):
    folder = FIXTURES / "dictionary_learning-topk"
    torch.manual_seed(0)
    width = json.loads((folder / "config.json").read_text())["trainer"]["activation_dim"]
    x, codes = tmp_path / "x.safetensors", tmp_path / "codes.npz"
    save_file({"x": torch.randn(300, width)}, x)
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    if verb == "decode":
        assert cli("encode", folder, x, "--out", codes, "--allow-pickle")[0] == 0
    inputs = {"decode": [codes], "features": ["--data", x], "match": [other]}
    suffix = {"features": "html", "match": "html", "score": "csv"}.get(verb, "npz")
    words = (verb, folder, *inputs.get(verb, [x]), "--out", tmp_path / f"out.{suffix}")
    said = refused(*words)
    assert "--allow-pickle" in said
    assert cli(*words, "--allow-pickle")[0] == 0
    assert (tmp_path / f"out.{suffix}").is_file()
    said = refused(*words, "--allow-pickle", "--as", "wrong", "--force")
    assert "`--as` must be the name of a reading, but got 'wrong'" in said


@pytest.fixture
def story_sae(tmp_path, monkeypatch):
    """A dictionary in the format of SAELens whose metadata name the story model and a hook point."""
    monkeypatch.chdir(tmp_path)
    return _sae(tmp_path / "sae")


def _sae(folder, width=64, **stated):
    """A folder of SAELens; `stated` are further metadata."""
    g = torch.Generator().manual_seed(0)
    folder.mkdir()
    atoms = torch.nn.functional.normalize(torch.randn(96, width, generator=g), dim=1)
    tensors = {"W_enc": atoms.T.contiguous(), "W_dec": atoms}
    tensors |= {"b_enc": torch.zeros(96), "b_dec": torch.zeros(width)}
    save_file(tensors, folder / "sae_weights.safetensors")
    metadata = {"model_name": "stories260K", "hook_name": "blocks.2.hook_resid_post", **stated}
    config = {"architecture": "topk", "k": 8, "d_in": width, "d_sae": 96, "metadata": metadata}
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


@pytest.fixture
def no_harvest(monkeypatch):
    """The model reads no text in this test."""

    def refuse(*arguments, **options):
        raise AssertionError("the model read a text")

    monkeypatch.setattr("narrows.exchange.auditing.harvest", refuse)


def test_audit_of_a_model_of_another_width(refused, no_harvest, tmp_path, story_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refused("audit", _sae(tmp_path / "sae", width=32), "--model", story_folder)
    assert "reads activations of width 32, but `resid.2`" in said
    assert "has width 64: it was trained on another model or place" in said
    assert [path.name for path in tmp_path.iterdir()] == ["sae"]


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"tokenizer_name": "gpt2"}, "the tokenizer `gpt2`, as its metadata say, not on that of"),
        ({"tokenizer_name": "sha256:0"}, "the tokenizer `sha256:0`"),
        ({"hook_name": "blocks.30.hook_resid_post"}, "No layer of the model matches `resid.30`"),
        ({"hook_name": "blocks.2.hook_resid_mid"}, "which has no name here. Name it: `--place resid.3`"),
    ],
)
def test_audit_of_what_contradicts_the_metadata(refused, no_harvest, tmp_path, story_folder, stated, words):
    assert words in refused("audit", _sae(tmp_path / "sae", **stated), "--model", story_folder)


def test_audit_with_a_tokenizer_without_the_stated_bos(
    refused, no_harvest, tmp_path, story_folder, monkeypatch
):
    def without(name):
        found = load(name)
        found.tokenizer.bos_token = found.tokenizer.cls_token = None
        return found

    monkeypatch.setattr("narrows.exchange.auditing.load", without)
    said = refused("audit", _sae(tmp_path / "sae", prepend_bos=True), "--model", story_folder)
    assert "contexts that begin with a BOS token" in said
    assert "--force" in said


def test_names_of_the_same_hook_point_and_tokenizer(cli, tmp_path, story_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    same = {"tokenizer_name": load(story_folder).tokens}
    where = ("--place", "model.layers.2", "--tokens", 300, "--json")
    assert cli("audit", _sae(tmp_path / "a", **same), "--model", story_folder, *where)[0] == 0
    heads = _sae(tmp_path / "b", tokenizer_name=str(story_folder), hook_name="blocks.2.attn.hook_z")
    code, out, _ = cli("audit", heads, "--model", story_folder, "--tokens", 300, "--json")
    assert code == 0
    assert "fvu" in {check["name"] for check in json.loads(out)["checks"]}


def test_a_harvest_of_another_place_or_tokenizer(cli, refused, tmp_path, story_folder):
    for place in ("resid.1", "resid.2"):
        assert (
            cli(
                "harvest",
                story_folder,
                "--text",
                "bundled",
                "--at",
                place,
                "--out",
                tmp_path / place,
                "--tokens",
                400,
            )[0]
            == 0
        )
    sae = _sae(tmp_path / "sae")
    said = refused("audit", sae, "--data", tmp_path / "resid.1")
    assert "trained on the hook point `resid.2`, as its metadata say, not on `resid.1`" in said
    assert cli("audit", sae, "--data", tmp_path / "resid.1", "--force", "--json")[0] == 0
    assert cli("audit", sae, "--data", tmp_path / "resid.2", "--json")[0] == 0
    said = refused("audit", _sae(tmp_path / "t", tokenizer_name="sha256:0"), "--data", tmp_path / "resid.2")
    assert "the tokenizer `sha256:0`" in said
    said = refused("audit", _sae(tmp_path / "m", model_name="gpt2"), "--data", tmp_path / "resid.2")
    assert "trained on the model `gpt2`" in said


def test_a_harvest_is_compared_in_python_too(tmp_path, story_folder):
    for place in ("resid.1", "resid.2"):
        harvest(story_folder, "bundled", place, tmp_path / place, tokens=400)
    run = narrows.load(_sae(tmp_path / "sae"))
    with pytest.raises(RequestError, match=r"trained on the hook point `resid.2`.*not on `resid.1`"):
        run.audit(tmp_path / "resid.1", write=False)
    assert run.audit(tmp_path / "resid.1", write=False, force=True, limit=200).get("l0") is not None
    assert run.audit(tmp_path / "resid.2", write=False, limit=200).get("l0") is not None


def test_contexts_that_begin_otherwise_are_refused(tmp_path, story_folder):
    for name, bos in (("plain", False), ("framed", True), ("usual", None)):
        harvest(story_folder, "bundled", "resid.2", tmp_path / name, tokens=400, bos=bos)
    begun = narrows.load(_sae(tmp_path / "begun", prepend_bos=True))
    bare = narrows.load(_sae(tmp_path / "bare", prepend_bos=False))
    with pytest.raises(RequestError, match=r"contexts that begin with a BOS token.*do not begin with one"):
        begun.audit(tmp_path / "plain", write=False)
    for name in ("framed", "usual"):
        with pytest.raises(
            RequestError, match=r"contexts that do not begin with a BOS token.*begin with one"
        ):
            bare.audit(tmp_path / name, write=False)
        assert begun.audit(tmp_path / name, write=False, limit=200).get("l0") is not None


def test_a_run_of_ours_states_its_model_place_and_tokenizer(
    cli, refused, no_harvest, tmp_path, story_folder, monkeypatch
):
    acts = tmp_path / "acts"
    assert (
        cli("harvest", story_folder, "--text", "bundled", "--at", "resid.2", "--out", acts, "--tokens", 400)[
            0
        ]
        == 0
    )
    words = ("fit", acts, "--method", "topk-sae", "--latents", 80, "--steps", 3, "--no-progress")
    assert cli(*words, "--out", tmp_path / "run")[0] == 0
    said = refused("audit", tmp_path / "run", "--model", story_folder, "--place", "resid.1")
    assert "trained on the hook point `resid.2`" in said
    said = refused("audit", tmp_path / "run", "--model", "gpt2")
    assert f"trained on the model `{story_folder.name}`" in said
    assert cli("convert", tmp_path / "run", tmp_path / "out", "--to", "saelens", "--fold")[0] == 0
    stated = json.loads((tmp_path / "out" / "cfg.json").read_text())["metadata"]
    assert stated["hook_name"] == "blocks.2.hook_resid_post"
    assert stated["tokenizer_name"] == load(story_folder).tokens
