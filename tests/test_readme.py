"""The README says what is true: its table, its links, its Python."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def test_the_table_of_families_is_the_generated_one():
    table = runpy.run_path(str(ROOT / "docs" / "generate.py"))["family_table"]
    held = TEXT.split("<!-- methods: python docs/generate.py -->")[1].split("<!-- end -->")[0]
    assert held.strip() == table().strip()


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)", TEXT):
        assert (ROOT / target).exists(), target


def test_the_ten_lines_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", TEXT, re.S).group(1)
    code = code.replace("epochs=20", "steps=40").replace("codes=64", "codes=16, prior_steps=10, steps=40")
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "compare.html").stat().st_size > 10_000
