"""The README says what is true: its table, its links, its Python."""

import re
import runpy
from pathlib import Path

from narrows.cli.main import run

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def test_the_table_of_families_is_the_generated_one():
    table = runpy.run_path(str(ROOT / "docs" / "generate.py"))["family_table"]
    held = TEXT.split("<!-- methods: python docs/generate.py -->")[1].split("<!-- end -->")[0]
    assert held.strip() == table().strip()


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)", TEXT):
        assert (ROOT / target).exists(), target


def test_the_commands_on_an_own_table_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        f"{20 + i % 40},{'' if i % 9 == 0 else ('clerk', 'nurse')[i % 2]},2024-0{1 + i % 9}-1{i % 10}"
        for i in range(120)
    ]
    Path("people.csv").write_text("\n".join(["age,job,since", *rows]) + "\n")
    block = re.search(r"From your own file to answers:\n\n```\n(.*?)```", TEXT, re.S).group(1)
    lines = [line.split("#")[0].split()[1:] for line in block.splitlines()]
    assert [words[0] for words in lines] == ["data", "fit", "score", "impute", "choose"]
    for words in lines[:-1]:  # a tournament is tested elsewhere
        assert run([*words, *(["--steps", "5"] if words[0] == "fit" else [])]) == 0
    assert Path("odd.csv").read_text().startswith("row,nll_nats,p_value,flag")
    assert ",," not in Path("full.csv").read_text()


def test_the_ten_lines_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", TEXT, re.S).group(1)
    code = code.replace("epochs=20", "steps=40").replace("codes=64", "codes=16, prior_steps=10, steps=40")
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "compare.html").stat().st_size > 10_000
