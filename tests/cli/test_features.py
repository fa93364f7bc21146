"""`features`, and the page that `audit` links to."""

import json

import pytest


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    import narrows as nr

    out = tmp_path_factory.mktemp("runs") / "sae"
    nr.fit(
        "digits", "topk-sae", out=out, steps=20, latents=40, k=4, progress=False, data_options={"limit": 200}
    )
    return out


def test_audit_writes_features_and_links_to_them(cli, sparse):
    code, _, err = cli("audit", sparse)
    assert code == 0
    assert (sparse / "features.html").is_file()
    assert "features.html" in err
    assert 'href="features.html"' in (sparse / "report.html").read_text()
    assert 'href="report.html"' in (sparse / "features.html").read_text()
    (sparse / "features.html").unlink()
    assert cli("audit", sparse, "--no-features")[0] == 0
    assert not (sparse / "features.html").exists()
    assert "features.html" not in (sparse / "report.html").read_text()


def test_features_of_chosen_latents(cli, sparse, tmp_path):
    page = tmp_path / "f.html"
    code, _, err = cli("features", sparse, "--latents", "3,5", "--out", page, "--examples", 50)
    assert code == 0
    assert str(page) in err
    text = page.read_text()
    assert 'id="f3"' in text
    assert text.count('<article class="sheet feature"') == 2
    assert cli("features", sparse, "--latents", "3", "--out", page)[0] == 2  # it exists
    code, out, _ = cli("features", sparse, "--latents", "7", "--out", page, "--force", "--json")
    assert code == 0
    assert [f["latent"] for f in json.loads(out)["features"]] == [7]
    assert cli("features", sparse, "--data", "digits", "--out", page, "--force")[0] == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [("--latents 40", "from 0 to 39"), ("--latents x", "3,17"), ("--count 0", "`--count`")],
)
def test_what_cannot_be(cli, sparse, words, sentence):
    code, _, err = cli("features", sparse, *words.split())
    assert code == 2
    assert sentence in err


def test_a_dense_code_has_no_latents_to_show(cli, fitted):
    code, _, err = cli("features", fitted)
    assert code == 2
    assert "no sparse latents" in err
    assert cli("audit", fitted)[0] == 0
    assert not (fitted / "features.html").exists()
