"""The demo: one page from several fits, twice in the same folder, and never in somebody else's."""

import json

import pytest

from narrows.core.check import RequestError
from narrows.demo import Experiment, demo, experiments

TINY = (
    Experiment("ae", "digits", "a plain code", {"steps": 3, "progress": False}, {"latent": 2}),
    Experiment("vae", "digits", "a code with a prior", {"steps": 3, "progress": False}, {"latent": 2}),
)


def test_it_makes_the_page_twice_and_keeps_what_it_did_not_make(tmp_path, capsys):
    folder = tmp_path / "demo"
    page = demo(folder, TINY)
    assert page == folder / "report.html"
    said = capsys.readouterr()
    assert str(page) in said.out
    assert "narrows fit" in said.out
    assert "1/3  ae on digits" in said.err
    text = page.read_text()
    assert "ae" in text
    assert {"ae", "vae"} <= {p.name for p in folder.iterdir()}
    (folder / "notes.txt").write_text("mine")
    (folder / "ae" / "model.safetensors").write_bytes(b"spoiled")
    demo(folder, TINY[1:] + TINY[:1])
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "ae" / "model.safetensors").read_bytes() != b"spoiled"


def test_a_folder_that_no_demo_made_is_refused_and_left_alone(tmp_path):
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(RequestError, match="a new folder, or one of an earlier demo"):
        demo(tmp_path, TINY)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    (tmp_path / "demo.json").write_text('{"made_by": "somebody"}')
    with pytest.raises(RequestError):
        demo(tmp_path, TINY)


@pytest.mark.parametrize("name", ["../other", "..", ".", "", "mine", 3, None, ["ae"]])
def test_a_mark_cannot_lead_out_of_the_folder_or_to_what_is_no_run(tmp_path, name):
    other, folder = tmp_path / "other", tmp_path / "demo"
    for place in (other, folder / "mine"):
        place.mkdir(parents=True)
        (place / "recipe.json").write_text("{}")
    (folder / "demo.json").write_text(json.dumps({"made_by": "narrows demo", "runs": [name]}))
    with pytest.raises(RequestError, match="one of an earlier demo"):
        demo(folder, TINY)
    assert {p.name for p in tmp_path.rglob("*")} == {"other", "demo", "mine", "recipe.json", "demo.json"}


def test_only_the_files_of_a_run_are_removed_and_no_link_is_followed(tmp_path):
    folder, other = tmp_path / "demo", tmp_path / "other"
    demo(folder, TINY)
    demo_ae = folder / "ae"
    demo_ae.rename(other)
    demo_ae.symlink_to(other)
    (folder / "vae" / "notes.txt").write_text("mine")
    before = sorted(p.name for p in other.rglob("*"))
    with pytest.raises(RequestError, match="nothing is overwritten"):
        demo(folder, TINY)
    assert sorted(p.name for p in other.rglob("*")) == before
    demo_ae.unlink()
    with pytest.raises(RequestError, match="vae exists already"):
        demo(folder, TINY)
    assert (folder / "vae" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("language", [True, False])
def test_the_real_plan_holds_valid_options(language):
    from narrows import data
    from narrows.methods.index import builder

    for piece in experiments(language):
        spec = (384,) if piece.data == "minilm" else data.open(piece.data).spec
        assert builder(piece.method)(spec, **piece.options).loss is not None
        assert piece.method != "topk-sae" or (piece.data == "minilm") == language
