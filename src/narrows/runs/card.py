"""The run folder's README.md: a model card that a person reads and the Hugging Face hub accepts."""

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

__all__ = ["SAID", "write_card"]

SAID = ("short", "behind")
"""Entries of a result that are sentences for a person."""


def write_card(folder: Path, recipe: Recipe, model: Autoencoder, result: Mapping[str, Any]) -> None:
    """Write the card of a finished run."""
    row = METHODS.get(recipe.method)
    parameters = sum(p.numel() for p in model.parameters())
    paper = "" if row is None else f"\n{row.title} ({row.year}), {row.reference}.\n{row.claim}\n"
    arguments = _arguments(recipe)
    said = "".join(f"{_text(result[name])}\n\n" for name in SAID if result.get(name))
    kept = recipe.training.get("validation")
    apart = f"\n| kept apart to tell when to stop | {kept:,} training rows |" if kept else ""
    second = f"\n| second stage | {_code(recipe.prior['text'])} |" if recipe.prior else ""
    if recipe.base:
        second += f"\n| fitted to the codes of | the run {_code(recipe.base['run'])} |"
    name = folder.resolve().name
    again = _code(f"narrows audit {shlex.quote(name)}")
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
| steps | {result["steps"]:,} of {recipe.training["batch_size"]} examples |{apart}{second}
| seed | {recipe.training["seed"]} |

{said}| option | value | |
|---|---|---|
{arguments}

```python
import narrows as nr
run = nr.load({json.dumps(name)})
codes = run.encode(x)
```

`recipe.json` makes this run again, `metrics.jsonl` holds its curves, {again} examines it.
"""
    files.write(folder / "README.md", text.encode())


def _arguments(recipe: Recipe) -> str:
    """The rows of a table: what was asked for, and what it does."""
    says = {}
    if recipe.method in METHODS:
        says = explained(inspect.getdoc(builder(recipe.method)) or "", METHODS[recipe.method].family)
    rows = [f"| {_code(k)} | {_code(v)} | {_text(says.get(k, ''))} |" for k, v in recipe.arguments.items()]
    return "\n".join(rows) or "| (defaults) | | |"


def _text(value: Any) -> str:
    r"""A name as Markdown that means nothing but its letters, on one line.

    Example:
        >>> print(_text("<b>my_data</b>"))
        \<b\>my\_data\</b\>
    """
    return re.sub(r"([\\`*_{}\[\]<>()#!|~&$])", r"\\\1", _line(value))


def _code(value: Any) -> str:
    r"""A value as code in a cell of a Markdown table, on one line; a backtick in it cannot end it.

    Example:
        >>> print(_code("a|b"), _code("a`b"))
        `a\|b` `` a`b ``
    """
    text = _line(value).replace("|", r"\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def _line(value: Any) -> str:
    return " ".join(printable(str(value)).split())
