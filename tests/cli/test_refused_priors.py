"""What tokenizers and priors refuse: a sentence on stderr, exit code 2, and nothing is written."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import narrows as nr
from narrows.core import files

SMALL = "width=8,depth=1,heads=2"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """Two tokenizers of the same shape, and priors of the first: one that is told labels, one that is not."""
    folder = tmp_path_factory.mktemp("tokens")
    for name, seed in {"a": 0, "b": 1}.items():
        nr.fit("digits", "vq-vae", folder / name, codes=8, prior="none", steps=5, seed=seed, progress=False)
    for name, prior in {"told": f"ar:{SMALL}", "plain": f"maskgit:{SMALL},labels=no"}.items():
        nr.fit(folder / "a", prior=prior, out=folder / name, steps=2, progress=False)
    return folder


def spoilt(run, to, value):
    """A copy of a run whose encoder returns `value` everywhere; the hash in its result is that of its weights."""
    shutil.copytree(run, to)
    weights = load_file(to / "model.safetensors")
    name = [name for name in weights if name.startswith("encoder.") and name.endswith(".weight")][-1]
    weights[name] = torch.full_like(weights[name], value)
    save_file(weights, to / "model.safetensors", {"format": "pt"})
    result = json.loads((to / "result.json").read_text())
    (to / "result.json").write_text(json.dumps({**result, "sha256": files.sha256(to / "model.safetensors")}))
    return to


def test_codes_of_another_run_are_told_by_their_hash(cli, refused, tokens, tmp_path):
    codes, out = tmp_path / "codes.npz", tmp_path / "x.npz"
    assert cli("encode", tokens / "a", "digits", "--limit", 9, "--out", codes)[0] == 0
    assert "made by another run" in refused("decode", tokens / "b", codes, "--out", out)
    assert not out.exists()
    assert cli("decode", tokens / "told", codes, "--out", out)[0] == 0  # a prior over the codes of a
    with np.load(codes) as found:
        arrays = dict(found)
    del arrays["tokenizer"]
    np.savez(codes, **arrays)
    assert (
        cli("decode", tokens / "b", codes, "--out", out, "--force")[0] == 0
    )  # nothing is known of their origin
    np.savez(codes, indices=np.full((2, 4), 8))
    assert "from 0 to 7, but these are from 8 to 8" in refused(
        "decode", tokens / "a", codes, "--out", out, "--force"
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("sample {t}/plain --label 3 --out {o}", "or a prior with labels"),
        ("sample {t}/plain --guidance 2 --out {o}", "`--guidance` must be 1 where a prior is told no labels"),
        ("sample {t}/told --label 12 --out {o}", "a whole number from 0 to 9, but got 12"),
        ("sample {t}/told --top-p 0 --out {o}", "`--top-p` must be above 0 and at most 1, but got 0.0"),
        ("sample {t}/told --top-p 1.2 --out {o}", "`--top-p` must be above 0 and at most 1, but got 1.2"),
        ("sample {t}/told --sampler lantern --out {o}", "`--draft` must be the run of a smaller prior"),
        ("sample {t}/told --sampler lantern --draft {t}/b --out {o}", "which has another codebook"),
        ("sample {t}/told --sampler lantern --draft {t}/a --out {o}", "which has no prior"),
        ("sample {t}/told --delta 0.1 --out {o}", "`--delta` must be left out without `--sampler lantern`"),
        (
            "sample {t}/told --sampler lantern --draft {t}/plain --out {o}",
            "the run of a prior `autoregressive`",
        ),
        ("fit digits --method vq-vae --codes 1 --out {o}", "`--codes` must be a whole number of at least 2"),
        (
            "fit digits --method vq-vae --steps tokenizr=9 --out {o}",
            "autoencoder (also tokenizer), prior, but",
        ),
        ("fit digits --method vq-vae --steps tokenizr=9 --out {o}", "Did you mean `tokenizer`"),
        ("fit {t}/a --prior ar --steps tokenizer=9 --out {o}", "`prior`, the only stage that is trained"),
        ("fit {t}/moved --prior ar --out {o}", "There is no file or folder"),
        ("fit {t}/moved --prior ar --out {o}", "moved to fit `--prior ar` to"),
        ("fit vq-run --prior ar --out {o}", "There is no finished run vq-run to fit `--prior ar` to"),
        ("fit {t}/a --prior givt --out {o}", "`--prior givt`: `prior` must be one that reads 4 indices"),
        (
            "fit {t}/a --prior maskgit:width=9 --out {o}",
            "`--prior maskgit:width=9`: `heads` must be a divisor",
        ),
        (
            "fit digits --method vae --prior maskgit --out {o}",
            "`--prior maskgit`: `prior` must be one that reads",
        ),
    ],
)
def test_a_sentence_and_nothing_is_written(refused, tokens, tmp_path, words, says):
    out = tmp_path / ("new" if words.startswith("fit") else "x.npz")
    assert says in refused(*words.format(t=tokens, o=out).split())
    assert not out.exists()


def test_data_that_do_not_exist_are_no_run_where_a_method_is_given(refused, tmp_path):
    said = refused("fit", "nowhere", "--method", "vq-vae", "--prior", "ar", "--out", tmp_path / "new")
    assert "There is no data set, file or folder `nowhere`" in said
    assert "finished run" not in said


def test_codes_without_one_codebook_have_no_clusters(refused, tmp_path):
    base, small = tmp_path / "base", {"tokens": 4, "codes": 8}
    nr.fit("digits", "qg-vae", base, prior="none", steps=1, progress=False, **small)
    for words in (("fit", base), ("fit", "digits", "--method", "qg-vae", "--tokens", 4)):
        said = refused(*words, "--prior", f"ctf:{SMALL}", "--out", tmp_path / "new")
        assert "one that needs no codebook for all positions, as GroupedQuantizer has none" in said
        assert "Try `autoregressive`" in said
        assert not (tmp_path / "new").exists()


def test_the_chain_of_ddpm_has_no_more_steps_than_it_was_trained_with(refused, fitted, tmp_path):
    nr.fit(fitted, prior="diffusion:width=8,depth=1", out=tmp_path / "d", steps=2, progress=False)
    said = refused(
        "sample", tmp_path / "d", "--sampler", "ddpm", "--steps", 2000, "--out", tmp_path / "x.npz"
    )
    assert "was trained with 1000 steps" in said


@pytest.mark.parametrize("prior", ["maskgit", "flow-matching", "gmm"])
def test_no_prior_is_fitted_to_codes_that_are_not_numbers(refused, tokens, fitted, tmp_path, prior):
    base = spoilt(tokens / "a" if prior == "maskgit" else fitted, tmp_path / "base", torch.nan)
    said = refused("fit", base, "--prior", prior, "--out", tmp_path / "new")
    assert "NaN or infinite numbers in the codes of 256 of the first 256 training examples" in said
    assert not (tmp_path / "new").exists()


def test_equal_tokens_of_all_examples_have_a_prior_too(cli, tokens, tmp_path):
    base = spoilt(tokens / "a", tmp_path / "base", 0.0)
    assert cli("fit", base, "--prior", f"maskgit:{SMALL}", "--steps", 2, "--out", tmp_path / "new")[0] == 0
    code, out, _ = cli("audit", tmp_path / "new", "--json")
    assert code == 0
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert checks["codebook/used"]["value"] <= 4


def test_a_base_that_was_changed_or_moved(refused, cli, tokens, tmp_path):
    base, new = tmp_path / "base", tmp_path / "new"
    shutil.copytree(tokens / "a", base)
    nr.fit(base, prior=f"ar:{SMALL}", out=new, steps=2, progress=False)
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    assert "its checksum does not match" in refused("fit", base, "--prior", "ar", "--out", tmp_path / "no")
    shutil.rmtree(base)
    assert cli("sample", new, "-n", 2, "--out", tmp_path / "x.npz")[0] == 0  # it has a copy of the base
    # a run that was interrupted before its first checkpoint, whose copy of the base was exchanged for another run's
    shutil.rmtree(new / "state")
    (new / "result.json").unlink()
    shutil.copy(tokens / "b" / "model.safetensors", new / "model.safetensors")
    assert "not those that the recipe was written for" in refused("resume", new)
