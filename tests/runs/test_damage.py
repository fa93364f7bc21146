"""Damaged and crafted run folders: a sentence, or the checkpoint before; never another result without a word."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import narrows as nr
from narrows.core import files
from narrows.core.check import RequestError
from narrows.core.tensorfile import write_tensors
from narrows.train import read_metrics
from narrows.train.checkpoint import compatible_with, newest

OFTEN = {"log_every": 1, "checkpoint_seconds": 0}


@pytest.fixture
def run(tmp_path):
    how = {"steps": 8, "training": OFTEN, "progress": False}
    return nr.fit("digits", "vae", tmp_path / "run", latent=2, net="mlp:4", **how)


def edit(path, change, sealed=True):
    """Change a JSON file on purpose: with a checksum that fits, or without one."""
    form = json.loads(path.read_text())
    form.pop("sha256", None)
    form = change(form) or form
    path.write_text(json.dumps(files.with_checksum(form) if sealed else form))


def test_a_single_bit_anywhere_in_a_checkpoint_is_seen(run):
    facts, tensors = (sorted((run.path / "state").glob(f"*.{kind}"))[-1] for kind in ("json", "safetensors"))
    rng = np.random.default_rng(0)
    sound, before = newest(run.path / "state")[0], None
    for path, count in ((facts, 150), (tensors, 40)):
        content = path.read_bytes()
        for bit in rng.integers(0, 8 * len(content), count).tolist():
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            found, said = newest(run.path / "state", compatible_with(run.model))
            if said:
                assert found.metadata["at"] == 7
                assert f"The checkpoint {path.stem} is damaged" in said[0]
                before = said
            else:  # the same meaning, spelled otherwise
                assert found.metadata == sound.metadata
                assert all(torch.equal(v, sound.tensors[k]) for k, v in found.tensors.items())
        path.write_bytes(content)
    assert before is not None


def test_what_a_recipe_does_not_say_of_the_training_has_its_default(run):
    def lost(form):
        del form["training"]["seed"], form["training"]["weight_decay"]

    edit(run.path / "recipe.json", lost)
    assert nr.load(run.path).recipe.training == run.recipe.training
    assert "| seed | 0 |" in (nr.resume(run.path, steps=9, progress=False).path / "README.md").read_text()


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts.pop("stage") and None,
        lambda facts: facts.pop("groups") and None,
        lambda facts: facts.update(at="8"),
        lambda facts: facts.update(seconds=-1),
        lambda facts: facts.update(stage=7),
        lambda facts: facts.update(groups={"other": []}),
        lambda facts: facts.update(groups=[]),
        lambda facts: [1, 2],
    ],
)
def test_a_checkpoint_with_other_facts_is_passed_over(tmp_path, run, change):
    whole = load_file(run.path / "model.safetensors")
    for name in ("result.json", "model.safetensors"):
        (run.path / name).unlink()
    last = sorted((run.path / "state").glob("*.json"))[-1]
    form = json.loads(last.read_text())
    del form["sha256"]
    form = change(form) or form
    last.write_text(json.dumps(files.with_checksum(form) if isinstance(form, dict) else form))
    nr.resume(run.path, progress=False)
    again = load_file(run.path / "model.safetensors")
    assert all(torch.equal(v, whole[k]) for k, v in again.items())


@pytest.mark.parametrize("change", ["lost", "shape", "random"])
def test_a_checkpoint_of_other_tensors_is_passed_over(run, change):
    data = sorted((run.path / "state").glob("*.safetensors"))[-1]
    tensors = load_file(data)
    name = "rng/cpu/0" if change == "random" else next(k for k in tensors if k.startswith("model/"))
    if change == "lost":
        del tensors[name]
    else:
        tensors[name] = torch.zeros(3, 3, 3)
    digest = write_tensors(data, tensors, "")
    edit(data.with_suffix(".json"), lambda facts: facts.update(tensors=digest))
    found, (said,) = newest(run.path / "state", compatible_with(run.model))
    assert found.metadata["at"] == 7
    assert "the one before it is used" in said


def test_every_bit_of_a_recipe_counts_until_its_checksum_is_taken_out(run):
    path = run.path / "recipe.json"
    text = path.read_text()
    path.write_text(text.replace('"unit"', '"real"'))
    with pytest.raises(RequestError, match=r"does not match\. If you edited it on purpose, remove its entry"):
        nr.load(run.path)
    path.write_text(text)
    edit(path, lambda recipe: recipe["versions"].update(python="3.99"), sealed=False)
    assert nr.load(run.path).recipe.versions["python"] == "3.99"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r.update(format=99), "format is unknown"),
        (lambda r: r.pop("method") and None, "`method` is missing"),
        (lambda r: r.update(extra=1), "`extra` is invalid"),
        (lambda r: r.update(data=[]), "`data` is invalid"),
        (lambda r: r["data"].pop("scaling") and None, "'scaling' is missing"),
        (lambda r: r["data"].update(what=3), "`what` of the data"),
        (lambda r: r["data"]["scaling"].update(scale=0), "scale of the data is 0"),
        (lambda r: r["data"]["scaling"].update(shift=[1.0, 2.0]), "one number per column"),
        (lambda r: r["spec"].update(shape=["x"]), "`shape` must be a whole number"),
        (lambda r: r["spec"].update(shape=[]), "is not a shape"),
        (lambda r: r["spec"].update(values="imaginary"), "`values` must be one of"),
        (lambda r: r["training"].update(seed=2**64), "`seed` must be a whole number from 0"),
        (lambda r: r["training"].update(lr="cosine:nan"), "`lr` must be a finite number or a schedule"),
        (lambda r: r["training"].update(lr=[1]), "damaged"),
        (lambda r: r["training"].update(device=5), "damaged"),
        (lambda r: r["training"].update(epochs=1e300, steps=None), "`epochs`"),
        (lambda r: r["versions"].update(threads=-1), "`threads`"),
        (lambda r: r["arguments"].update(latnt=3), "`latnt`"),
        (lambda r: r["arguments"].update(net={"a": 1}), "net|do not make"),
        (lambda r: r["arguments"].update(net="mlp:5"), "do not fit"),
        (lambda r: [r], "format is unknown"),
    ],
)
def test_a_recipe_is_held_to_what_a_recipe_is(run, change, says):
    edit(run.path / "recipe.json", change, sealed=False)
    with pytest.raises(RequestError, match=says):
        nr.load(run.path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[" * 100 + b"]" * 100,
        b'{"format": NaN}',
        b'{"format": 1e999}',
        b"9" * 5000,
    ],
)
def test_what_is_no_json_is_a_sentence(run, content):
    for name in ("recipe.json", "result.json"):
        sound = (run.path / name).read_bytes()
        (run.path / name).write_bytes(content)
        with pytest.raises(RequestError, match=f"{name} is damaged"):
            nr.load(run.path)
        (run.path / name).write_bytes(sound)


def test_weights_are_compared_with_the_recipe_before_memory_is_taken(run):
    edit(
        run.path / "recipe.json",
        lambda recipe: recipe["arguments"].update(net="mlp:20000,20000"),
        sealed=False,
    )
    code = "import sys, resource, narrows as nr; from narrows.runs import loading\n"
    code += "from narrows.core.check import RequestError\n"
    code += "import narrows.nets.build, narrows.methods.variational.vae, torch._meta_registrations\n"
    code += "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
    code += "try: nr.load(sys.argv[1])\n"
    code += "except RequestError as error: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=True
    )
    kilobytes, says = done.stdout.split(" ", 1)
    assert "do not fit its recipe" in says
    assert int(kilobytes) < 400_000  # 20,000 times 20,000 numbers take 1.6 million


def test_damaged_metrics_are_left_out_and_nothing_fails(run):
    path = run.path / "metrics.jsonl"
    sound = read_metrics(run.path)
    lines = path.read_text().splitlines()
    lines[2] = lines[2][:-5]
    lines[4] = lines[4].replace('"step": 5', '"step": -5')
    bad = ["[" * 100_000, "null", '{"at": 1}', '{"at": 1, "step": 1, "stage": []}', "\udcff"]
    path.write_bytes(
        "\n".join(
            [*lines, *bad, '{"at": 99, "step": 9, "stage": "x", "held_out/density": 3, "y": Infinity}']
        ).encode("utf-8", "surrogateescape")
    )
    assert [r["at"] for r in read_metrics(run.path)] == [r["at"] for r in sound if r["at"] not in (3, 5)]
    nr.load(run.path).audit(limit=30)
    assert nr.resume(run.path, steps=9, progress=False).metrics[-1]["at"] == 9


def test_a_damaged_request_of_a_sweep_is_a_sentence(tmp_path):
    how = {"steps": 1, "page": False, "progress": False}
    nr.sweep("digits", "ae", {"latent": [1, 2]}, tmp_path / "s", **how)
    path = tmp_path / "s" / "sweep.json"
    text = path.read_text()
    for content in (text[:-20], text.replace('"digits"', '"digitz"'), "null", "[" * 100_000):
        path.write_text(content)
        with pytest.raises(RequestError, match=r"sweep.json is damaged"):
            nr.sweep("digits", "ae", {"latent": [1, 2]}, tmp_path / "s", **how)


@pytest.mark.parametrize(
    "how",
    [
        {"seed": 2**64},
        {"seed": 2**70},
        {"lr": "cosine:nan"},
        {"lr": "cosine:1e-3:0:inf"},
        {"lr": "constant:-1"},
        {"lr": "nan"},
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, how):
    with pytest.raises(RequestError, match=next(iter(how))):
        nr.fit("digits", "ae", tmp_path / "run", steps=1, progress=False, **how)
    assert not (tmp_path / "run").exists()


def test_files_of_other_libraries_with_the_right_digest_are_read(run):
    path = run.path / "model.safetensors"
    before = run.encode()["z"]
    save_file(load_file(path), path)
    edit(run.path / "result.json", lambda result: {**result, "sha256": files.sha256(path)}, sealed=False)
    assert np.array_equal(nr.load(run.path).encode()["z"], before)
