"""`audit`, `compare` and `prove`."""

import json

import pytest

from narrows.proofs import run as proofs_run


def test_audit_json_is_one_document_and_the_same_twice(cli, fitted):
    code, out, _ = cli("audit", fitted, "--json")
    assert code == 0
    document = json.loads(out)
    assert document["method"] == "vae"
    assert {"data", "parameters", "checks"} <= set(document)
    for check in document["checks"]:
        assert {"name", "value", "unit", "verdict", "says"} <= set(check)
        assert check["verdict"] in ("ok", "warn", "bad", "info")
    assert json.loads(cli("audit", fitted, "--json")[1]) == document
    assert "<html" in (fitted / "report.html").read_text()


def test_audit_for_people(cli, fitted):
    code, out, err = cli("audit", fitted)
    assert code == 0
    assert "collapse" in out.lower()
    assert "report.html" in err


def test_audit_of_other_data(cli, fitted):
    _, own, _ = cli("audit", fitted, "--json")
    code, out, _ = cli("audit", fitted, "--data", "digits", "--limit", 40, "--json")
    assert code == 0
    assert json.loads(out) != json.loads(own)


def test_compare_writes_one_page(cli, refused, fitted, sparse, tmp_path):
    page = tmp_path / "c.html"
    code, out, _ = cli("compare", fitted, sparse, "--out", page)
    assert (code, out) == (0, "")
    text = page.read_text()
    assert "topk-sae" in text
    assert "vae" in text
    assert "--force" in refused("compare", fitted, sparse, "--out", page)
    assert page.read_text() == text


def test_what_prove_is_asked_for_arrives(cli, monkeypatch):
    asked = {}

    def noted(names, **options):
        asked.update(options, names=names)
        return 1

    monkeypatch.setattr(proofs_run, "run", noted)
    words = "prove vae iwae --scale quick --seeds 0,2 --data linear --limit 50 --strict --json --device cpu"
    assert cli(*words.split())[0] == 1  # the exit code is the proofs'
    assert list(asked["names"]) == ["vae", "iwae"]
    assert (asked["scale"], asked["seeds"], asked["data"]) == ("quick", [0, 2], "linear")
    assert asked["data_options"] == {"limit": 50}
    assert (asked["strict"], asked["as_json"], asked["every"], asked["family"]) == (True, True, False, None)


def test_prove_all_of_a_family(cli, monkeypatch):
    asked = {}
    monkeypatch.setattr(proofs_run, "run", lambda names, **options: asked.update(options, names=names) or 0)
    assert cli("prove", "--all", "--seeds", "2")[0] == 0
    assert (list(asked["names"]), asked["every"], asked["seeds"]) == ([], True, 2)
    assert cli("prove", "--family", "sparse")[0] == 0
    assert asked["family"] == "sparse"


@pytest.mark.parametrize("words", [["prove", "vae", "--all"], ["prove", "--family", "spars"]])
def test_bad_requests(refused, words):
    refused(*words)
