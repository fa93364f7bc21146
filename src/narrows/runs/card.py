"""The run folder's README.md: a model card that a person reads and the Hugging Face hub accepts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from narrows import files
from narrows.core import Autoencoder
from narrows.methods.index import METHODS
from narrows.runs.recipe import Recipe

__all__ = ["write_card"]


def write_card(folder: Path, recipe: Recipe, model: Autoencoder, result: Mapping[str, Any]) -> None:
    """Write the card of a finished run."""
    row = METHODS.get(recipe.method)
    parameters = sum(p.numel() for p in model.parameters())
    paper = "" if row is None else f"\n{row.title} ({row.year}), {row.reference}.\n{row.claim}\n"
    arguments = "\n".join(f"| `{k}` | `{v}` |" for k, v in recipe.arguments.items()) or "| (defaults) | |"
    name = folder.resolve().name
    text = f"""---
library_name: narrows
tags: [autoencoder, {recipe.method}]
---

# {recipe.method} on {recipe.data_name}
{paper}
| fact | value |
|---|---|
| data | `{recipe.data_name}`, one example {"x".join(map(str, recipe.spec.shape))}, {recipe.spec.values} |
| parameters | {parameters:,} |
| steps | {result["steps"]:,} of {recipe.training["batch_size"]} examples |
| seed | {recipe.training["seed"]} |

| option | value |
|---|---|
{arguments}

```python
import narrows as nr
run = nr.load("{name}")
codes = run.encode(x)
```

`recipe.json` makes this run again, `metrics.jsonl` holds its curves, `narrows audit {name}` examines it.
"""
    files.write(folder / "README.md", text.encode())
