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
    assert document.pop("seconds")["examples"] >= 0  # what was measured by a clock is apart
    assert without_seconds(cli("audit", fitted, "--json")[1]) == document
    assert cli("audit", fitted)[0] == 0
    assert without_seconds((fitted / "audit.json").read_text()) == document
    assert "<html" in (fitted / "report.html").read_text()


def without_seconds(text):
    document = json.loads(text)
    del document["seconds"]
    return document


def test_audit_for_people(cli, fitted):
    code, out, err = cli("audit", fitted)
    assert code == 0
    assert "collapse" in out.lower()
    assert "report.html" in err


def test_audit_of_other_data(cli, fitted):
    cli("audit", fitted)
    before = {path.name: path.read_bytes() for path in fitted.iterdir() if path.is_file()}
    code, _, err = cli("audit", fitted, "--data", "digits", "--limit", 40)
    assert code == 0
    other = json.loads((fitted / "audit-digits.json").read_text())
    assert other["parameters"]["examples"] == 40
    assert other["data"] == "digits"
    assert str(fitted / "report-digits.html") in err
    after = {path.name: path.read_bytes() for path in fitted.iterdir() if path.is_file()}
    assert {name: after[name] for name in before} == before  # the run's own audit stays as it was
    assert set(after) - set(before) == {"audit-digits.json", "report-digits.html"}


def test_evaluations_are_listed_in_the_help_and_run_on_request(cli, fitted):
    from narrows.audit.evaluations import EVALUATIONS

    _, out, _ = cli("audit", "--help")
    told = " ".join(out.split())
    for name in EVALUATIONS.parts:
        assert f"{EVALUATIONS.constructor(name).seconds:g} s" in told
        assert name in told
    code, out, _ = cli("audit", fitted, "--with", "all", "--budget", "5m", "--limit", 50, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["parameters"]["limit"] == 50
    says = {c["name"]: c["says"] for c in document["checks"]}
    assert says["splice"].startswith("Not measured: ")  # a VAE of digits is no dictionary of a language model
    assert set(EVALUATIONS.parts) <= {name.partition("/")[0] for name in says}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--with", "prbing"), "--with"),
        (("--with", ""), "--with"),
        (("--budget", "5m"), "--with"),
        (("--with", "all", "--budget", "soon"), "--budget"),
        (("--with", "all", "--budget", "0"), "--budget"),
        (("--limit", 0), "--limit"),
        (("--limit", -5), "--limit"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(cli, fitted, words, said):
    before = {path.name: path.read_bytes() for path in fitted.iterdir() if path.is_file()}
    code, out, err = cli("audit", fitted, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert {path.name: path.read_bytes() for path in fitted.iterdir() if path.is_file()} == before


def test_a_run_that_cannot_be_written_is_audited_elsewhere(cli, fitted, tmp_path, monkeypatch):
    from pathlib import Path

    from narrows.core import files

    def held(write):
        def guarded(path, *rest):
            assert fitted not in Path(path).parents, f"{path} was written"
            return write(path, *rest)

        return guarded

    monkeypatch.setattr(files, "write", held(files.write))
    code, out, _ = cli("audit", fitted, "--json")
    assert code == 0
    elsewhere = tmp_path / "a" / "b"
    assert cli("audit", fitted, "--out", elsewhere)[0] == 0
    assert without_seconds((elsewhere / "audit.json").read_text()) == without_seconds(out)
    assert "<html" in (elsewhere / "report.html").read_text()


def test_the_pages_of_a_sparse_code_lead_to_each_other_wherever_they_are(cli, sparse, tmp_path):
    assert cli("audit", sparse, "--data", "digits", "--limit", 30, "--out", tmp_path)[0] == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"audit-digits.json", "report-digits.html", "features-digits.html"}
    assert 'href="features-digits.html"' in (tmp_path / "report-digits.html").read_text()
    assert 'href="report-digits.html"' in (tmp_path / "features-digits.html").read_text()


def test_comparing_leaves_the_runs_as_they_are(cli, fitted, sparse, tmp_path):
    cli("audit", fitted, "--seed", 3)
    before = [{p.name: p.read_bytes() for p in run.iterdir() if p.is_file()} for run in (fitted, sparse)]
    assert cli("compare", fitted, sparse, "--out", tmp_path / "c.html")[0] == 0
    assert [
        {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()} for run in (fitted, sparse)
    ] == before


def test_compare_writes_one_page(cli, refused, fitted, sparse, tmp_path):
    page = tmp_path / "c.html"
    code, out, _ = cli("compare", fitted, sparse, "--out", page)
    assert code == 0
    assert "training spread is unknown" in " ".join(out.split())
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
    assert (asked["strict"], asked["as_json"], asked["every"], asked["families"]) == (True, True, False, ())


def test_prove_all_of_a_family(cli, monkeypatch):
    asked = {}
    monkeypatch.setattr(proofs_run, "run", lambda names, **options: asked.update(options, names=names) or 0)
    assert cli("prove", "--all", "--seeds", "2")[0] == 0
    assert (list(asked["names"]), asked["every"], asked["seeds"]) == ([], True, 2)
    assert cli("prove", "--family", "sparse", "--family", "masked")[0] == 0
    assert asked["families"] == ["sparse", "masked"]


@pytest.mark.parametrize("words", [["prove", "vae", "--all"], ["prove", "--family", "spars"]])
def test_bad_requests(refused, words):
    refused(*words)


def test_a_sweep_names_the_best_run_by_a_figure(cli, tmp_path):
    ask = [
        "sweep",
        "digits",
        "--method",
        "topk-sae",
        "--over",
        "k=2,8",
        "--latents",
        "32",
        "--steps",
        "40",
        "--no-page",
    ]
    code, out, err = cli(*ask, "--out", tmp_path / "runs", "--choose", "fvu", "--json")
    assert code == 0
    rows = json.loads(out)
    assert [row["chosen"] for row in rows] == ["no", "yes"]
    assert rows[1]["fvu"] < rows[0]["fvu"]
    assert "By fvu (lower is better) the best run is" in err
    assert not (tmp_path / "runs" / "compare.html").exists()
    pages = [word for word in ask if word != "--no-page"]
    assert cli(*pages, "--out", tmp_path / "runs", "--choose", "mdl:fvu=0.99,rows=300")[0] == 0
    page = (tmp_path / "runs" / "compare.html").read_text()
    assert "By mdl/bits (lower is better) the best run is" in page
    assert '<th class="name">mdl/bits</th>' in page
    code, _, err = cli(*ask, "--out", tmp_path / "other", "--choose", "l0")
    assert code == 2
    assert "cannot be chosen by 'l0'" in err
    assert not (tmp_path / "other").exists()


def test_compare_can_measure_the_cost(cli, fitted, sparse, tmp_path):
    page = tmp_path / "c.html"
    assert cli("compare", fitted, sparse, "--cost", "--out", page)[0] == 0
    text = page.read_text()
    assert "Reconstructions: cost and quality" in text
    assert "compute/reconstruct-flops" in text
    assert "compute/reconstruct-flops" not in cli("compare", fitted, sparse, "--json")[1]
