"""The model card: names from files mean nothing but their letters."""

import re

import markdown
import numpy as np
import yaml

import narrows as nr

HOSTILE = "x_`<script>alert(1)`[a](b)|**y** # z"


def test_names_from_outside_are_only_read(tmp_path):
    from dataclasses import replace

    from narrows.runs.card import write_card

    run = nr.fit(np.eye(6, dtype=np.float32), "ae", tmp_path / "plain", latent=2, steps=2, progress=False)
    recipe = replace(run.recipe, data={**run.recipe.data, "name": HOSTILE + "\n\x1b[2J- one"})
    folder = tmp_path / "it's `mine`"
    folder.mkdir()
    write_card(folder, recipe, run.model, {"steps": 2, "sha256": "", "seconds": 1.0})
    text = (folder / "README.md").read_text()
    assert "\x1b" not in text
    head, body = re.fullmatch(r"---\n(.*?)---\n(.*)", text, re.DOTALL).groups()
    assert yaml.safe_load(head) == {"library_name": "narrows", "tags": ["autoencoder", "ae"]}
    page = markdown.markdown(body, extensions=["tables", "fenced_code"])
    assert not re.search(r"<(script|a|li|em|strong)\b", page), page
    title = re.search(r"<h1>(.*?)</h1>", page)[1]
    assert "&lt;script&gt;alert(1)" in title
    assert page.count("<h1>") == 1
    assert f'run = nr.load("{folder.name}")' in body
