"""The pages in the repository: links lead somewhere, the README's table is that of the index, equations are drawn."""

import re
import sys
from pathlib import Path

import pytest

from narrows.methods.index import METHODS

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
GENERATED = ("methods/", "api/", "gallery.md")
MathTextParser = pytest.importorskip("matplotlib.mathtext").MathTextParser
pytest.importorskip("markdown")


@pytest.fixture(scope="module")
def docs():
    """The site's own modules."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import equations
        import generate
        import imports

        import proofs
    finally:
        sys.path.pop(0)
    return {"equations": equations, "generate": generate, "imports": imports, "proofs": proofs}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if re.match(r"\w+:", link):
            continue
        target = (page.parent / link).resolve()
        known = any(generated in link for generated in GENERATED) and (ROOT / "docs") in page.parents
        assert known or target.exists(), link


def test_the_site_has_all_methods_and_the_readme_counts_them(docs):
    pages = docs["generate"].methods_index()
    for row in METHODS.values():
        assert f"| [`{row.name}`]({row.name}.md) | [{row.title}]" in pages
    counts = re.findall(r"^\| \w+: .* \| (\d+) \|", (ROOT / "README.md").read_text(), re.M)
    assert sum(map(int, counts)) == len(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_its_page_with_a_drawing_of_its_parts(docs, name):
    page = docs["generate"].method_page(METHODS[name])
    for role in ("encoder", "bottleneck", "decoder", "objective"):
        assert f"flow-{role}" in page


def test_the_drawing_of_imports_is_that_of_the_code(docs):
    found = docs["imports"].imports()
    assert found["cli", "runs"] >= 3
    assert ("core", "methods") not in found
    svg = docs["imports"].diagram()
    assert svg.count("<rect") == sum(len(row) for row in docs["imports"].layers()) - 1
    rooms = {room for row in docs["imports"].layers() for room in row} - {"__main__"}
    assert svg.count("<path") == len([pair for pair in found if set(pair) <= rooms])


def test_every_option_is_documented_on_its_page(docs):
    from narrows.methods.index import builder

    said = docs["generate"].options_table(builder("vae"), "variational")
    assert "| `--beta` | number or schedule | `1.0` | weight of the KL divergence" in said
    for name in METHODS:
        for line in docs["generate"].options_table(builder(name), METHODS[name].family).splitlines()[2:]:
            assert not line.endswith("|  |"), f"{name}: {line}"


def test_equations_of_all_docstrings_are_drawn(docs, monkeypatch):
    """One of ten is drawn; of the others the parser decides, as the site draws all of them."""
    sources = [path.read_text() for path in (ROOT / "src").rglob("*.py")]
    found = [
        m for s in sources for m in re.findall(r"^([ ]*)\.\. math:: (.*(?:\n\1[ ]+\S.*)*)", s, re.MULTILINE)
    ]
    assert len(found) > 20
    for _, tex in found[::10]:
        assert "equation-source" not in docs["equations"].draw(tex), tex
    parser = MathTextParser("path")
    monkeypatch.setattr(docs["equations"], "_svg", lambda line: str(parser.parse(f"${line}$")))
    assert "equation-source" in docs["equations"].draw(r"\nosuchsymbol x")
    for _, tex in found:
        assert "equation-source" not in docs["equations"].draw(tex), tex


def test_an_unknown_symbol_is_shown_as_source(docs):
    assert "equation-source" in docs["equations"].draw(r"\nosuchsymbol x")


def test_the_gallery_shows_every_committed_result(docs):
    shown = docs["generate"].gallery()
    for path in docs["proofs"].RESULTS.glob("[!.]*.json"):
        assert f'id="{path.stem}"' in shown


def test_a_verdict_says_how_many_claims_hold(docs):
    claims = [{"verdict": v} for v in ("reproduced", "reproduced post hoc", "refuted here")]
    said = docs["proofs"].verdict({"verdict": "refuted here", "claims": claims})
    assert "refuted here" in said
    assert "2 of 3 claims hold" in said
    assert "hold" not in docs["proofs"].verdict({"verdict": "reproduced", "claims": claims[:1]})
    assert "not measured" in docs["proofs"].verdict(None)


def test_a_result_is_pictured(docs):
    slack = {"seeds": [0.5, 1.0, 1.5], "mean": 1.0, "low": 0.2, "high": 1.8}
    drawn = docs["proofs"].picture(slack)
    assert drawn.count('class="seed"') == 3
    dots = [float(x) for x in re.findall(r'cx="([\d.]+)"', drawn)]
    (zero,) = re.findall(r'class="zero" x1="([\d.]+)"', drawn)
    assert float(zero) < dots[0] < dots[1] < dots[2]
    assert dots[1] - dots[0] == pytest.approx(dots[2] - dots[1], abs=0.2)
