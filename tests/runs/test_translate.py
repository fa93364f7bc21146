"""`translate` and the other verbs on several modalities, with rows and modalities missing."""

import json
import shutil

import numpy as np
import pytest

import narrows as nr
from narrows.core.check import RequestError


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 2))
    caption = z @ rng.normal(size=(2, 5)) + 0.1 * rng.normal(size=(400, 5))
    caption[rng.random(400) < 0.2] = np.nan
    image = 1 / (1 + np.exp(-2 * z @ rng.normal(size=(2, 64)))).reshape(400, 8, 8)
    word = np.array(["ab", "cd", "ef"])[np.digitize(z[:, 0], [-0.5, 0.5])]
    return {"image": image.astype(np.float32), "caption": caption, "word": word}


@pytest.fixture(scope="module")
def run(arrays, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "m"
    path = out.parent / "pairs.npz"
    np.savez(path, **arrays)
    options = {"latent": 4, "net": "mlp:32", "steps": 200, "lr": 1e-2, "progress": False}
    nr.fit(path, "mvae", out, data_options={"missing": 0.2}, **options)
    return nr.load(out)


def test_words_are_read_from_images_far_above_chance(run, arrays):
    found = run.translate({"image": arrays["image"]}, "image", "word")
    assert found["word_present"].all()
    assert (found["word"] == arrays["word"]).mean() > 0.6


def test_what_is_not_read_has_no_say(run, arrays):
    garbage = {**arrays, "caption": np.random.default_rng(1).normal(size=(400, 5)) * 50}
    for name, value in run.translate(arrays, "image", "word").items():
        assert np.array_equal(value, run.translate(garbage, "image", "word")[name])


def test_rows_without_a_source_are_marked_absent(run, arrays):
    found = run.translate(arrays, "caption", "image")
    absent = np.isnan(arrays["caption"]).all(1)
    assert np.array_equal(found["image_present"], ~absent)
    assert np.isnan(found["image"][absent]).all()
    assert np.isfinite(found["image"][~absent]).all()


def test_draws_differ_and_a_seed_repeats_them(run, arrays):
    few = {name: value[:6] for name, value in arrays.items()}
    first, again, other = (run.translate(few, "word", "image", draws=3, seed=s)["image"] for s in (1, 1, 2))
    assert first.shape == (6, 3, 1, 8, 8)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[:, 0], first[:, 1])


def test_everything_from_everything_is_the_reconstruction(run, arrays):
    whole, back = run.translate(arrays, "all", "all"), run.reconstruct(arrays)
    for name, value in back.items():
        assert np.array_equal(whole[name], value)


def test_a_score_of_what_is_there_falls_short_of_all_by_what_is_missing(run, arrays):
    both = {name: arrays[name][:50] for name in ("image", "word")}
    alone = run.score({"image": both["image"]})
    joint = run.score(both)
    assert np.all(joint > alone - 0.5)  # p(image, word) <= p(image), but for the estimates
    assert run.score_unit(both) == "nll_nats"


def test_names_that_are_none_are_refused(run, tmp_path):
    with pytest.raises(RequestError, match="`image`, `caption`, `word`"):
        run.translate(None, "sound", "image")
    other = nr.fit(np.eye(20), "ae", tmp_path / "ae", latent=2, steps=2, progress=False)
    with pytest.raises(RequestError, match="one modality"):
        other.translate()


def test_the_run_goes_on_where_it_was_stopped_and_is_opened_again(run):
    assert run.data.train.present.float().mean() < 0.8
    again = nr.load(run.path).data
    assert np.array_equal(again.train.present, run.data.train.present)
    assert again.spec == run.recipe.spec


@pytest.mark.parametrize("modality", ["image", "caption", "word"])
def test_a_run_is_not_resumed_on_other_values_of_one_modality(run, arrays, tmp_path, modality):
    folder = shutil.copytree(run.path, tmp_path / "m")
    changed = dict(np.load(run.path.parent / "pairs.npz"))
    row = int(np.flatnonzero(~np.isnan(changed["caption"]).all(1))[5])
    if modality == "word":
        changed["word"][row] = "ab" if changed["word"][row] == "cd" else "cd"
    else:
        changed[modality][row].flat[3] += 0.5
    np.savez(tmp_path / "pairs.npz", **changed)
    recipe = json.loads((folder / "recipe.json").read_text())
    del recipe["sha256"]
    recipe["data"]["what"] = str(tmp_path / "pairs.npz")
    (folder / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(RequestError, match="not those that the run was fitted on"):
        nr.resume(folder, steps=201, progress=False)
    np.savez(tmp_path / "pairs.npz", **arrays)
    assert nr.resume(folder, steps=201, progress=False).recipe.training["steps"] == 201


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda forms: forms.pop("word") and None, "`forms` of the data"),
        (lambda forms: forms["caption"]["scaling"].update(scale=0), "scale of the data is 0"),
        (lambda forms: forms["caption"]["scaling"].update(shift=[1.0]), "one number per column"),
        (lambda forms: forms["image"].pop("spec") and None, "'spec' is missing"),
        (lambda forms: forms["image"]["spec"].update(shape=[1, 4, 16]), "differ for the modality"),
        (lambda forms: forms["word"]["spec"]["class_names"].pop() and None, "number of classes"),
        (lambda forms: forms["word"]["spec"].update(class_names=[1, 2, 3]), "are not strings"),
        (lambda forms: forms.update(image=3), "damaged"),
    ],
)
def test_what_a_recipe_says_of_each_modality_is_checked(run, tmp_path, change, says):
    folder = shutil.copytree(run.path, tmp_path / "m")
    recipe = json.loads((folder / "recipe.json").read_text())
    del recipe["sha256"]
    change(recipe["data"]["forms"])
    (folder / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(RequestError, match=says):
        nr.load(folder)


def test_the_audit_tells_which_modality_the_code_holds(run):
    report = run.audit(write=False)
    checks = {check.name: check for check in report.checks}
    assert checks["modality/image/information"].verdict == "ok"
    assert checks["modality/image/distortion"].value < checks["modality/image/from-others"].value


@pytest.mark.parametrize(("name", "garbage"), [("caption", 1e6), ("caption", np.nan), ("word", "cd")])
def test_what_is_stored_under_an_absent_modality_changes_no_weight(arrays, tmp_path, name, garbage):
    """Scaling, training and held-out losses read what is present only."""
    absent = np.random.default_rng(3).random(400) < 0.4
    weights = []
    for stored in (
        arrays[name],
        np.where(absent.reshape(-1, *[1] * (arrays[name].ndim - 1)), garbage, arrays[name]),
    ):
        data = {**arrays, name: stored, f"{name}_present": ~absent}
        out = tmp_path / f"m{len(weights)}"
        run = nr.fit(data, "mvae", out, latent=2, net="mlp:16", epochs=1, progress=False)
        weights.append(run.model.state_dict())
    assert all(np.array_equal(value, weights[1][key]) for key, value in weights[0].items())


def test_the_audit_names_a_modality_whose_encoder_collapsed(arrays, tmp_path):
    run = nr.fit(arrays, "mvae", tmp_path / "m", latent=2, net="mlp:16", steps=2, progress=False)
    encoder = run.model.encoder.parts[list(arrays).index("word")]
    for parameter in encoder.parameters():
        parameter.data.zero_()
    last = [p for p in encoder.parameters() if p.shape == (4,)][-1]
    last.data[2:] = 20.0  # the log-variance of an expert that says nothing
    checks = {check.name: check for check in run.audit(write=False).checks}
    assert checks["modality/word/rate"].verdict == "bad"
    assert "`word`" in checks["modality/word/rate"].says
    assert checks["modality/image/rate"].verdict == "ok"


def test_labelled_images_are_two_modalities(tmp_path):
    run = nr.fit("digits", "mvae", tmp_path / "d", latent=4, net="image=mlp:32", steps=3, progress=False)
    assert list(run.recipe.spec.parts) == ["image", "label"]
    assert set(run.translate(None, "image", "label")["label"]) <= set(range(10))
