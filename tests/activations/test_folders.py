"""A model folder from anyone: its code is not run, its pickles are not opened, nothing outside it is read."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

import narrows.data as nd
from narrows.activations import recompute
from narrows.activations.folders import folder_of
from narrows.activations.manifest import sealed, unsealed
from narrows.activations.models import load, load_tokenizer, quietly
from narrows.core.check import RequestError
from narrows.runs.harvesting import harvest

PLANTED = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Path({mark!r}).write_text("the author's code has run")

class Config(LlamaConfig):
    model_type = "planted"

class Planted(LlamaForCausalLM):
    config_class = Config

class Words(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture
def saved(fresh, tmp_path):
    with quietly():
        fresh("llama").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(autouse=True)
def yes(monkeypatch):
    """Whoever asks at the terminal gets a yes."""
    monkeypatch.setattr("builtins.input", lambda *asked: "y")


def change(folder, file="config.json", **values):
    path = folder / file
    config = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({k: v for k, v in (config | values).items() if v is not None}))


def plant(folder, mark):
    """Code of the folder's author, for the configuration, the model and the tokenizer."""
    (folder / "planted.py").write_text(PLANTED.format(mark=str(mark)))
    auto = {"AutoConfig": "planted.Config", "AutoModel": "planted.Planted"}
    auto["AutoModelForCausalLM"] = "planted.Planted"
    change(folder, model_type="planted", auto_map=auto)
    words = {"auto_map": {"AutoTokenizer": ["planted.Words", "planted.Words"]}, "tokenizer_class": "Words"}
    change(folder, "tokenizer_config.json", **words)


def test_the_authors_code_is_never_run(saved, tmp_path):
    mark = tmp_path / "mark"
    plant(saved, mark)
    for read in (lambda: load(saved, "cpu"), lambda: load_tokenizer(str(saved))):
        with pytest.raises(RequestError, match=r"code that its author wrote.*never run"):
            read()
    assert not mark.exists()


def test_a_tokenizers_code_is_never_run(saved, tmp_path):
    mark = tmp_path / "mark"
    plant(saved, mark)
    change(saved, model_type="llama", auto_map=None)
    with pytest.raises(RequestError, match="code that its author wrote"):
        load(saved, "cpu")
    assert not mark.exists()


def test_code_of_a_part_of_the_model_is_refused(saved):
    change(saved, text_config={"model_type": "planted", "auto_map": {"AutoModel": "planted.Planted"}})
    with pytest.raises(RequestError, match="code that its author wrote"):
        load(saved, "cpu")
    change(saved, text_config=None, attn_implementation="someone/kernels")
    with pytest.raises(RequestError, match="code that its author wrote"):
        load(saved, "cpu")


def test_a_known_architecture_is_read_with_transformers_own_code(saved, tmp_path):
    want = load(saved, "cpu").module.state_dict()
    plant(saved, tmp_path / "mark")
    change(saved, model_type="llama")
    (saved / "tokenizer_config.json").unlink()
    found = load(saved, "cpu").module
    assert type(found).__module__.startswith("transformers.")
    assert all(torch.equal(t, want[name]) for name, t in found.state_dict().items())
    assert not (tmp_path / "mark").exists()


def test_a_live_harvest_runs_no_code_of_the_model_that_it_names(saved, tmp_path):
    """The manifest is a stranger's: it names a folder with planted code, and its true revision."""
    ids = [[1, 2, 3, 4, 5, 6, 7, 8]] * 40
    made = harvest(load(saved, "cpu").module, inputs=torch.tensor(ids), at="resid.0", out=tmp_path / "acts")
    for file in made.folder.glob("shard-*"):
        file.unlink()
    plant(saved, tmp_path / "mark")
    for name in ("manifest.json", "header.json"):
        form = unsealed(made.folder / name) | ({"live": True} if name == "manifest.json" else {})
        form["header"]["model"] |= {"source": str(saved), "revision": folder_of(str(saved)).revision}
        (made.folder / name).write_text(json.dumps(sealed(form)))
    recompute._loaded.cache_clear()
    with pytest.raises(RequestError, match="code that its author wrote"):
        nd.open(made.folder, at="resid.0").train.all()
    assert not (tmp_path / "mark").exists()


class Marks:
    """Pickled, it writes a file as it is opened."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.write_text, (self.mark, "the pickle was opened"))


@pytest.mark.parametrize("how", ["alone", "named", "index"])
def test_pickled_weights_are_never_opened(saved, tmp_path, monkeypatch, how):
    weights = saved / "pytorch_model.bin"
    weights.write_bytes(pickle.dumps(Marks(tmp_path / "mark")))
    if how != "named":
        (saved / "model.safetensors").unlink()
    if how == "named":
        change(saved, transformers_weights="pytorch_model.bin")
    elif how == "index":
        change(saved, "model.safetensors.index.json", metadata={}, weight_map={"a": "pytorch_model.bin"})
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("torch.load was called"))
    with pytest.raises(RequestError, match=r"pickled weights .*never opened.*save_pretrained"):
        load(saved, "cpu")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "a/b.safetensors", 7, None])
def test_weights_lie_in_the_folder(saved, name):
    shutil.move(saved / "model.safetensors", saved.parent / "other.safetensors")
    change(saved, "model.safetensors.index.json", metadata={}, weight_map={"a": name})
    (saved / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(RequestError, match="outside its folder"):
        load(saved, "cpu")


@pytest.mark.parametrize(
    ("change_to", "says"),
    [
        ({"vocab_size": 1 << 33}, "describes a model of .* GB, but its weights take"),
        ({"intermediate_size": 1 << 40}, "describes a model of .* GB, but its weights take"),
        ({"num_hidden_layers": 10**12}, "at most the number of tensors in the weights"),
    ],
)
def test_sizes_are_held_to_the_file_before_memory_is_taken(saved, change_to, says):
    change(saved, **change_to)
    with pytest.raises(RequestError, match=says):
        load(saved, "cpu")


def test_an_adapter_is_refused(saved):
    change(saved, "adapter_config.json", base_model_name_or_path="someone/model")
    with pytest.raises(RequestError, match="is an adapter"):
        load(saved, "cpu")


@pytest.fixture
def hub(saved, tmp_path, monkeypatch):
    """A model in the hub's cache, as a download leaves it: `someone/small` at two commits."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    at = tmp_path / "hub" / "models--someone--small"
    commits = ("a" * 40, "b" * 40)
    for commit in commits:
        shutil.copytree(saved, at / "snapshots" / commit)
    (at / "refs").mkdir()
    (at / "refs" / "main").write_text(commits[1])
    return commits


def test_a_model_of_the_hub_is_noted_with_its_commit(hub):
    old, new = hub
    model = load("someone/small", "cpu")
    assert (model.name, model.source, model.revision) == ("someone/small", "someone/small", new)
    assert load("someone/small", "cpu", revision=old, fetch=False).revision == old


def test_what_a_file_names_is_not_fetched(hub):
    with pytest.raises(
        RequestError, match=r"not on this machine.*hf download someone/other --revision c{40}"
    ):
        load("someone/other", "cpu", revision="c" * 40, fetch=False)
    with pytest.raises(
        RequestError, match=r"not on this machine.*hf download someone/small --revision c{40}"
    ):
        load("someone/small", "cpu", revision="c" * 40, fetch=False)
    with pytest.raises(RequestError, match=r"has changed since the harvest was made \(b{40} instead of sha"):
        load("someone/small", "cpu", revision="sha256:0", fetch=False)
