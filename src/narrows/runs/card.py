"""README.md of a run folder: a model card in the format of the Hugging Face hub."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from narrows.core import Autoencoder, files
from narrows.core.check import printable
from narrows.methods.index import METHODS, builder
from narrows.methods.options import explained
from narrows.runs.recipe import Recipe

__all__ = ["WARNINGS", "write_card"]

WARNINGS = ("short", "behind")
"""Entries of a result that are warnings, as text."""


def write_card(folder: Path, recipe: Recipe, model: Autoencoder, result: Mapping[str, Any]) -> None:
    """Write the card of a finished run."""
    row = METHODS.get(recipe.method)
    parameters = sum(p.numel() for p in model.parameters())
    paper = "" if row is None else f"\n{row.title} ({row.year}), {row.reference}.\n{row.claim}\n"
    arguments = _arguments(recipe)
    warnings = "".join(f"{_text(result[name])}\n\n" for name in WARNINGS if result.get(name))
    validation = recipe.training.get("validation")
    validation_row = f"\n| validation (early stopping) | {validation:,} training rows |" if validation else ""
    second = f"\n| second stage | {_code(recipe.prior['text'])} |" if recipe.prior else ""
    if recipe.base:
        second += f"\n| fitted to the codes of | the run {_code(recipe.base['run'])} |"
    name = folder.resolve().name
    audit_command = _code(f"narrows audit {shlex.quote(name)}")
    text = f"""---
library_name: narrows
tags: {json.dumps(["autoencoder", recipe.method])}
---

# {_text(recipe.method)} on {_text(recipe.data_name)}
{paper}
| fact | value |
|---|---|
| data | {_code(recipe.data_name)}, one example {"x".join(map(str, recipe.spec.shape))}, {recipe.spec.values} |
| parameters | {parameters:,} |
| steps | {result["steps"]:,} of {recipe.training["batch_size"]} examples |{validation_row}{second}
| seed | {recipe.training["seed"]} |

{warnings}| option | value | |
|---|---|---|
{arguments}

```python
import narrows as nr
run = nr.load({json.dumps(name)})
codes = run.encode(x)
```

`recipe.json` reproduces this run, `metrics.jsonl` holds its training curves, {audit_command} audits it.
"""
    files.write(folder / "README.md", text.encode())


def _arguments(recipe: Recipe) -> str:
    """The rows of the table of options: name, value and description."""
    descriptions = {}
    if recipe.method in METHODS:
        descriptions = explained(inspect.getdoc(builder(recipe.method)) or "", METHODS[recipe.method].family)
    rows = [
        f"| {_code(k)} | {_code(v)} | {_text(descriptions.get(k, ''))} |" for k, v in recipe.arguments.items()
    ]
    return "\n".join(rows) or "| (defaults) | | |"


def _text(value: Any) -> str:
    r"""A name as literal Markdown text, on one line.

    Example:
        >>> print(_text("<b>my_data</b>"))
        \<b\>my\_data\</b\>
    """
    return re.sub(r"([\\`*_{}\[\]<>()#!|~&$])", r"\\\1", _line(value))


def _code(value: Any) -> str:
    r"""A value as inline code in a cell of a Markdown table, on one line, with backticks escaped.

    Example:
        >>> print(_code("a|b"), _code("a`b"))
        `a\|b` `` a`b ``
    """
    text = _line(value).replace("|", r"\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def _line(value: Any) -> str:
    return " ".join(printable(str(value)).split())
