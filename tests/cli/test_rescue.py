"""`narrows fit RUN --rescue`: what changes, what stays, and what is refused."""

import pytest

import narrows as nr
from narrows.core.check import RequestError
from narrows.runs.rescue import rescue


def test_a_codebook_that_collapsed_is_fitted_again_with_the_rest_unchanged(tmp_path, cli):
    options = {"codes": 256, "net": "mlp:16", "prior": "none", "codebook": "gradient:start=normal,restart=0"}
    first = nr.fit("digits", "vq-vae", tmp_path / "a", steps=8, seed=3, lr=0.002, progress=False, **options)
    code, _, said = cli("audit", first.path, "--limit", "64", "--out", tmp_path / "audit")
    assert code == 0
    assert f"To try a remedy in a second run: narrows fit {first.path} --rescue --out" in said
    code, out, _ = cli("fit", first.path, "--rescue", "--out", tmp_path / "b", "--no-progress")
    assert code == 0
    assert "collapse, with codebook=ema:restart=0.03,start=kmeans: It helped" in out
    assert {"check", "before", "after", "collapse", "capacity-used", "fvu"} <= set(out.split())
    second = nr.load(tmp_path / "b").recipe
    assert second.arguments == {**first.recipe.arguments, "codebook": "ema:restart=0.03,start=kmeans"}
    assert (second.training, second.data) == (first.recipe.training, first.recipe.data)
    assert second.fingerprint == first.recipe.fingerprint
    assert (tmp_path / "b" / "audit.json").is_file()
    assert not (tmp_path / "a" / "audit.json").exists()


def test_a_posterior_that_collapsed_is_fitted_again_with_a_warm_up_that_ends(tmp_path):
    options = {"net": "mlp:8", "latent": 4, "beta": 50.0, "steps": 40, "progress": False}
    tried = rescue(nr.fit("digits", "vae", tmp_path / "a", **options), tmp_path / "b", progress=False)
    assert dict(tried.changed) == {"beta": "linear:0:50:20"}
    weight = tried.run.model.objective.weights["kl"]
    assert (weight(0), weight(10), weight(20), weight(39)) == (0, 25, 50, 50)


def test_what_cannot_be_rescued_is_refused(tmp_path, cli):
    code, _, said = cli("fit", "digits", "--rescue")
    assert (code, "a finished run as DATA" in said) == (2, True)
    run = nr.fit("digits", "ae", tmp_path / "a", steps=2, net="mlp:8", progress=False)
    code, _, said = cli("fit", run.path, "--rescue", "--steps", "3")
    assert (code, "given with a finished run as DATA, --out and --progress alone" in said) == (2, True)
    with pytest.raises(RequestError, match="names no remedy that `ae` can take"):
        rescue(run, tmp_path / "b")
    (run.path / "result.json").unlink()
    with pytest.raises(RequestError, match="is not finished"):
        rescue(run, tmp_path / "b")
    assert not (tmp_path / "b").exists()
