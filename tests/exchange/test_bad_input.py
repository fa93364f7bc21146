"""Damaged, incomplete and contradictory files: a clear sentence each, and nothing half written."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import narrows as nr
from narrows.core.check import RequestError, WorkError
from narrows.exchange.convert import convert

FIXTURES = Path(__file__).parents[1] / "fixtures" / "exchange"


@pytest.fixture
def copy(tmp_path):
    """A copy of a fixture, with changes to its configuration and its tensors."""

    def make(name, config=None, tensors=None, drop=()):
        folder = tmp_path / "copy"
        shutil.copytree(FIXTURES / name, folder)
        if config is not None:
            path = next(folder.glob("c*g.json"))
            path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
        if tensors is not None or drop:
            path = next(folder.glob("*.safetensors"))
            held = {k: v for k, v in load_file(path).items() if k not in drop}
            save_file({**held, **(tensors or {})}, path)
        return folder

    return make


def refused(folder, *words, **how):
    with pytest.raises(RequestError) as caught:
        nr.load(folder, **how)
    out = folder.parent / "out"
    with pytest.raises(RequestError):
        convert(folder, out, "narrows", **how)
    assert sorted(p.name for p in folder.parent.iterdir()) == ["copy"]
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_a_file_cut_short(copy):
    folder = copy("saelens-jumprelu")
    path = folder / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    refused(folder, "sae_weights.safetensors is damaged", "cut off", "Get the file again")


def test_a_header_cut_short(copy):
    folder = copy("saelens-jumprelu")
    (folder / "sae_weights.safetensors").write_bytes(b"\x40\0\0")
    refused(folder, "is damaged", "3 bytes")


def test_a_missing_tensor(copy):
    refused(copy("saelens-jumprelu", drop=("threshold",)), "lacks the tensor `threshold`", "`W_enc`")


def test_a_tensor_too_many(copy):
    folder = copy("saelens-standard", tensors={"threshold": torch.zeros(3)})
    refused(folder, "`threshold`", "another architecture")


def test_another_width(copy):
    folder = copy("saelens-standard", config={"d_in": 99})
    refused(folder, "contradicts its configuration", "99")


def test_a_threshold_of_the_wrong_length(copy):
    refused(copy("saelens-jumprelu", tensors={"threshold": torch.zeros(5)}), "`threshold` is (5,)")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite(copy, value):
    weights = load_file(FIXTURES / "saelens-standard" / "sae_weights.safetensors")["W_dec"]
    weights[2, 1] = value
    refused(
        copy("saelens-standard", tensors={"W_dec": weights}),
        "`decoder`",
        "1 number that is NaN or infinite",
    )


def test_integers_as_weights(copy):
    weights = load_file(FIXTURES / "saelens-standard" / "sae_weights.safetensors")["b_dec"]
    refused(copy("saelens-standard", tensors={"b_dec": weights.long()}), "`b_dec`", "not real numbers")


def test_a_pickle_is_refused_and_read_when_allowed(copy):
    folder = copy("dictionary_learning-topk")
    refused(folder, "ae.pt is a pickle", "allow_pickle")
    assert nr.load(folder, allow_pickle=True).method == "topk-sae"


class Dangerous:
    def __reduce__(self):
        return (Path.touch, (Path("must-not-exist"),))


def test_a_pickle_with_code_runs_none_of_it(copy, monkeypatch):
    folder = copy("dictionary_learning-topk")
    monkeypatch.chdir(folder.parent)
    torch.save({"encoder.weight": Dangerous()}, folder / "ae.pt")
    refused(folder, "ae.pt is damaged", allow_pickle=True)


def test_a_damaged_pickle(copy):
    folder = copy("dictionary_learning-topk")
    (folder / "ae.pt").write_bytes((folder / "ae.pt").read_bytes()[:200])
    refused(folder, "ae.pt is damaged", allow_pickle=True)


@pytest.mark.parametrize("name", ["saelens-standard", "dictionary_learning-topk"])
def test_a_configuration_that_is_no_json(copy, name):
    folder = copy(name)
    path = next(folder.glob("c*g.json"))
    path.write_text("{not json")
    refused(folder, f"{path.name} is damaged", allow_pickle="dictionary" in name)


def test_a_missing_configuration(copy):
    folder = copy("saelens-standard")
    (folder / "cfg.json").unlink()
    refused(folder, "cfg.json is missing")


def test_an_unknown_architecture(copy):
    refused(copy("saelens-standard", config={"architecture": "temporal"}), "`temporal` is not known")


def test_an_unknown_class(copy):
    folder = copy("dictionary_learning-topk", config={"trainer": {"dict_class": "IdentityDict"}})
    refused(folder, "`IdentityDict` is not a known class", allow_pickle=True)


def test_an_unknown_normalisation(copy):
    folder = copy("saelens-standard", config={"normalize_activations": "covariance_whitening"})
    refused(folder, "covariance_whitening", "not read")


def test_a_configuration_that_contradicts_the_number_of_latents(copy):
    refused(copy("saelens-topk", config={"k": 0}), "k of", "from 1 to 20")


def test_k_that_is_stored_twice_and_differs(copy):
    path = FIXTURES / "dictionary_learning-topk" / "config.json"
    trainer = json.loads(path.read_text())["trainer"]
    folder = copy("dictionary_learning-topk", config={"trainer": {**trainer, "k": 2}})
    refused(folder, "contradicts its configuration", "k is 4, and 2 there", allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("saelens-standard", {"apply_b_dec_to_input": "no"}, ["apply_b_dec_to_input", "true or false"]),
        ("sparsify-topk/layers.2", {"transcode": "no"}, ["transcode", "true or false"]),
        ("llamascopium-jumprelu", {"sparsity_include_decoder_norm": 1}, ["sparsity_include_decoder_norm"]),
        ("saelens-standard", {"normalize_activations": ["x"]}, ["normalize_activations", "Known"]),
        ("saelens-standard", {"metadata": [1]}, ["metadata", "a JSON object"]),
        ("saelens-standard", {"metadata": {"model_name": 3}}, ["the model", "a text, but got 3"]),
        ("saelens-standard", {"metadata": {"hook_name": ["a"]}}, ["the hook", "a text"]),
        ("saelens-standard", {"metadata": {"context_size": "x"}}, ["the length of a context"]),
        ("saelens-standard", {"metadata": {"prepend_bos": "yes"}}, ["true or false"]),
        ("saelens-topk", {"k": 1000}, ["k of", "from 1 to 20"]),
    ],
)
def test_a_field_of_the_wrong_type(copy, name, config, words):
    refused(copy(name, config=config), *words)


def test_an_empty_pickle(copy):
    folder = copy("dictionary_learning-topk")
    (folder / "ae.pt").write_bytes(b"")
    refused(folder, "it is cut off, or no file of torch.save", allow_pickle=True)


def test_an_empty_configuration_of_circuit_tracer(copy):
    folder = copy("circuit_tracer-clt-relu")
    (folder / "config.yaml").write_text("")
    refused(folder, "config.yaml is damaged: it is empty")


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("circuit_tracer-clt-relu", "W_*_{}.safetensors"), ("gemma-scope-2-clt", "params_layer_{}.safetensors")],
)
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_missing_layer_of_a_cross_layer_transcoder(copy, name, pattern, layer):
    folder = copy(name)
    for path in folder.glob(pattern.format(layer)):
        path.unlink()
    missing = pattern.replace("W_*", "W_enc").format(layer)
    refused(folder, missing, "All layers from 0 on are needed")


def test_a_path_of_no_known_format(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(RequestError, match="neither a run nor a dictionary of a known format"):
        convert(tmp_path, tmp_path / "out", "saelens")
    with pytest.raises(RequestError, match="does not exist"):
        convert(tmp_path / "nowhere", tmp_path / "out", "saelens")


def test_an_unknown_target(tmp_path):
    with pytest.raises(RequestError, match=r"one of `narrows`, .*`saelens`"):
        convert(FIXTURES / "saelens-standard", tmp_path / "out", "sealens")


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep me")
    with pytest.raises(RequestError, match="nothing is overwritten"):
        convert(FIXTURES / "saelens-standard", tmp_path / "out", "narrows", force=True)
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep me"


def test_a_foreign_run_without_its_data():
    run = nr.load(FIXTURES / "saelens-standard")
    with pytest.raises(RequestError, match="read from a file of saelens, without its data"):
        run.reconstruct()


def test_activations_of_another_width():
    run = nr.load(FIXTURES / "saelens-standard")
    with pytest.raises(RequestError):
        run.encode(torch.zeros(4, 3).numpy())


def test_what_a_target_cannot_hold_is_said_before_anything_is_written(tmp_path):
    said = []
    with pytest.raises(RequestError, match="results would change: the norm of each example") as caught:
        convert(FIXTURES / "saelens-layer-norm", tmp_path / "out", "dictionary_learning", say=said.append)
    assert "force" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    convert(
        FIXTURES / "saelens-layer-norm", tmp_path / "out", "dictionary_learning", say=said.append, force=True
    )
    assert "the norm of each example" in said[-1]


def test_an_architecture_that_a_target_lacks(tmp_path):
    for force in (False, True):
        with pytest.raises(RequestError, match="sparsify has autoencoders and transcoders with TopK"):
            convert(FIXTURES / "saelens-gated", tmp_path / "out", "sparsify", force=force)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise WorkError("No space is left.")

    monkeypatch.setattr("narrows.exchange.files.write_tensors", full)
    with pytest.raises(WorkError):
        convert(FIXTURES / "saelens-standard", tmp_path / "out", "saelens")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_no_other_format_holds(tmp_path):
    data = torch.randn(64, 10).numpy()
    nr.fit(data, "vae", tmp_path / "run", steps=2, progress=False)
    with pytest.raises(RequestError, match="parts that other formats do not have"):
        convert(tmp_path / "run", tmp_path / "out", "saelens")


def test_a_reading_that_does_not_apply():
    with pytest.raises(RequestError, match="a reading that differs"):
        nr.load(FIXTURES / "saelens-standard", reading="centre")
    with pytest.raises(RequestError, match="no-centre"):
        nr.load(FIXTURES / "saelens-standard", reading="nocentre")
