"""Harvests that are run again: after a refusal, over damaged files, from contexts that were changed."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

import narrows as nr
import narrows.data as nd
from narrows.activations import recompute
from narrows.activations.manifest import sealed, unsealed
from narrows.audit.evidence.tokens import TokenText
from narrows.core.check import RequestError, WorkError
from narrows.core.lock import Lock
from narrows.runs.harvesting import driver

QUIET = {"progress": False, "device": "cpu"}
HOW = {"at": "resid.1,mlp.0", "context": 16, "shard": 4, "batch_size": 2, **QUIET}


def everything(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_refused_for_space_leaves_nothing_and_its_advice_is_taken(lm, text, tmp_path, monkeypatch):
    out = tmp_path / "new" / "acts"
    monkeypatch.setattr(driver.shutil, "disk_usage", lambda path: SimpleNamespace(free=9000))
    with pytest.raises(RequestError, match=r"a disk with .* GB free") as refused:
        nr.harvest(lm, text, out=out, **HOW)
    assert not out.parent.exists()
    tokens = int(str(refused.value).split("tokens=")[1].split("`")[0])
    assert nr.harvest(lm, text, out=out, tokens=tokens, **HOW).complete


def test_space_that_runs_out_later_is_said_otherwise(lm, text, tmp_path, monkeypatch):
    """Another number of tokens would be another harvest, which the folder does not take."""
    whole = nr.harvest(lm, text, out=tmp_path / "a", **HOW)
    (whole.folder / whole.shards[0].file).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(driver.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
        with pytest.raises(RequestError, match="Free some, then run the same command again"):
            nr.harvest(lm, text, out=tmp_path / "a", **HOW)
    assert nr.harvest(lm, text, out=tmp_path / "a", **HOW).complete


def test_contexts_that_were_changed_are_not_read_but_written_anew(lm, text, tmp_path):
    made = nr.harvest(lm, text, out=tmp_path / "live", on_the_fly=True, **HOW)
    before = everything(made.folder)
    path = made.folder / "contexts.safetensors"
    contexts = load_file(path)
    contexts["tokens"][3] += 1
    save_file(contexts, path)
    recompute._arrays.cache_clear()
    with pytest.raises(RequestError, match=r"contexts\.safetensors cannot be used: its checksum"):
        nd.open(made.folder, at="resid.1")
    nr.harvest(lm, text, out=tmp_path / "live", on_the_fly=True, **HOW)
    assert everything(made.folder) == before
    for content in (b"", b"\xff" * 300, path.read_bytes()[:-5]):
        path.write_bytes(content)
        recompute._arrays.cache_clear()
        with pytest.raises(RequestError, match=r"contexts\.safetensors cannot be used"):
            nd.open(made.folder, at="resid.1")


def test_what_a_damaged_folder_says_of_the_text_is_not_believed(lm, text, tmp_path):
    made = nr.harvest(lm, text, out=tmp_path / "a", **HOW)
    path = made.folder / "header.json"
    form = json.loads(path.read_text())
    form["header"]["contexts"]["documents"] += 1
    path.write_text(json.dumps(form))
    with pytest.raises(WorkError, match=r"header\.json cannot be read: its checksum"):
        nr.harvest(lm, text, out=tmp_path / "a", **HOW)
    path.write_text(json.dumps(sealed({k: v for k, v in form.items() if k != "sha256"})))
    made = nr.harvest(lm, text, out=tmp_path / "b", **HOW)
    assert made.header["contexts"]["documents"] == len(text)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda header: header["layers"]["resid.1"].update(module="lm_head"), "the manifest says 'lm_head'"),
        (lambda header: header["layers"]["resid.1"].update(heads=4), "but the manifest says"),
        (
            lambda header: header["layers"]["resid.1"].update(shape=[1 << 40]),
            r"have the shape \(16,\), but the manifest says",
        ),
        (lambda header: header["units"].update(contexts=0), "`units: contexts`"),
        (lambda header: header["units"].update(batch=-3), "`units: batch`"),
        (lambda header: header["units"].update(contexts=7), "units of 7 contexts"),
        (lambda header: header.update(units=None), "`units: contexts`"),
        (lambda header: header["contexts"].update(positions=3), "cannot be used"),
        (lambda header: header["contexts"].pop("sha256"), "has no 'sha256'"),
        (lambda header: header["model"].update(revision="sha256:0"), "has changed since"),
        (lambda header: header["model"].update(source=7), "names no model"),
        (lambda header: header["model"].update(dtype="int8"), "`model_dtype`"),
    ],
)
def test_a_strangers_manifest_is_held_to_the_model(lm, text, tmp_path, change, says):
    made = nr.harvest(lm, text, out=tmp_path / "live", on_the_fly=True, **HOW)
    path = made.folder / "manifest.json"
    form = {k: v for k, v in unsealed(path).items() if k not in ("format", "version")}
    change(form["header"])
    path.write_text(json.dumps(sealed(form)))
    recompute._loaded.cache_clear()
    with pytest.raises(RequestError, match=says):
        nd.open(made.folder, at="resid.1").train.all()


def test_rows_of_a_live_harvest_are_as_before(lm, text, tmp_path):
    """The checks change no bit of what is computed."""
    disk = nr.harvest(lm, text, out=tmp_path / "disk", **HOW)
    live = nr.harvest(lm, text, out=tmp_path / "live", on_the_fly=True, **HOW)
    one, two = (nd.open(made.folder, at="mlp.0", order="units").train.all().x for made in (disk, live))
    assert torch.equal(one, two)


def test_of_two_at_once_the_second_is_refused(lm, text, tmp_path, monkeypatch):
    """The second begins while the first is at its second unit; another rank's share is free."""
    want = nr.harvest(lm, text, out=tmp_path / "alone", **HOW).folder
    compute, said = driver.compute, []

    def meanwhile(model, places, work, plan, unit, *more):
        if unit == 1 and not said:
            said.append("")
            with pytest.raises(
                RequestError, match=r"is in use: process \d+ on .* Wait until it ends"
            ) as refused:
                nr.harvest(lm, text, out=tmp_path / "a", **HOW)
            said[0] = str(refused.value)
        return compute(model, places, work, plan, unit, *more)

    monkeypatch.setattr(driver, "compute", meanwhile)
    made = nr.harvest(lm, text, out=tmp_path / "a", **HOW)
    assert said[0].startswith(str(tmp_path / "a"))
    assert made.complete
    assert everything(made.folder) == everything(want)


def test_ranks_do_not_wait_for_each_other(lm, text, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with Lock(nr.harvest(lm, text, out=tmp_path / "a", **HOW).folder, ".lock-0"):
        with pytest.raises(RequestError, match="is in use"):
            nr.harvest(lm, text, out=tmp_path / "a", **HOW)
        monkeypatch.setenv("RANK", "1")
        assert nr.harvest(lm, text, out=tmp_path / "a", **HOW).complete


def test_words_need_the_tokenizer_alone(lm, text, tmp_path, monkeypatch):
    made = nr.harvest(lm, text, out=tmp_path / "a", **HOW)
    provenance = nd.open(made.folder, at="resid.1").train.provenance
    auto = pytest.importorskip("transformers").AutoModelForCausalLM
    monkeypatch.setattr(auto, "from_pretrained", lambda *a, **k: pytest.fail("the weights were loaded"))
    words = TokenText.of(provenance)
    ids, _ = provenance.context_of(0)
    assert "".join(map(words, ids.tolist())).strip().startswith("The narrow")
