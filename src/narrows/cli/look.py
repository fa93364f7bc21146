"""`list`, `paper` and `data`, which do not import torch."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from narrows import methods
from narrows.cli.docstrings import signature, signature_of
from narrows.cli.output import print_json
from narrows.core.check import refuse
from narrows.core.texts import shown
from narrows.methods.index import entries, entry
from narrows.methods.options import SHARED
from narrows.methods.row import Method
from narrows.methods.techniques import Technique
from narrows.priors import PRIORS, SAMPLING

_TABLES = (".csv", ".tsv", ".gz", ".parquet")
"""Suffixes of files with tables."""

__all__ = ["data_get", "data_info", "data_list", "list_methods", "of_method", "paper"]


def list_methods(family: str | None = None, json: bool = False) -> None:
    """List the methods: name, year, paper and claim."""
    rows = entries(family)
    if json:
        print_json([_facts(row) for row in rows])
        return
    first = max((len(row.name) for row in rows), default=0)
    for kind in dict.fromkeys(row.family for row in rows):
        heading(kind)
        table([(row.name, _paper(row), row.claim) for row in rows if row.family == kind], first)
        print()
    fits = any(isinstance(row, Method) for row in rows)
    print("Next: narrows paper NAME" + (", or narrows fit DATA --method NAME --help" if fits else ""))


def _paper(row: Method | Technique) -> str:
    """The year, and the arXiv number if there is one."""
    return f"{row.year}" if ":" in row.arxiv else f"{row.year}  {row.arxiv}"


def paper(name: str, json: bool = False) -> None:
    """Show the paper behind a method, its claim and its options."""
    row = entry(name)
    if isinstance(row, Technique):
        _technique(row, json)
        return
    says, options = of_method(row)
    if json:
        print_json({**_facts(row), "summary": says, "options": options})
        return
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    heading(f"{row.title} ({row.year})")
    print(f"{row.url}\n\n{textwrap.fill(says, width)}\n")
    print(textwrap.fill(f"Claim: {row.claim}", width, subsequent_indent="       "))
    if options:
        print("\nOptions:")
        table([("--" + o["name"].replace("_", "-"), o["default"], o["says"]) for o in options])
    print(f"\nFit:       narrows fit digits --method {row.name} --out runs/{row.name}")
    print(f"Proof:     narrows prove {row.name}")
    print(f"Source:    {source_path(row)}")


def _technique(row: Technique, json: bool) -> None:
    """The paper behind a technique, its claim, and the command that uses it; of a prior its options."""
    fitting, sampling = _options_of_prior(row.name)
    if json:
        more = {"options": fitting, "sampling": sampling} if row.name in PRIORS.parts else {}
        print_json({**_facts(row), "verb": row.verb, **more})
        return
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    heading(f"{row.title} ({row.year})")
    print(f"{row.url}\n")
    print(textwrap.fill(f"Claim: {row.claim}", width, subsequent_indent="       "))
    if fitting:
        print(f"\nOptions of --prior {row.name}, such as {row.name}:{_example(fitting)}:")
        table([(o["name"], o["default"], o["says"]) for o in fitting])
    if sampling:
        print("\nOptions of narrows sample:")
        table([("--" + o["name"].replace("_", "-"), o["default"], o["says"]) for o in sampling])
    print(f"\nUse:       {row.verb}")
    print(f"Proof:     narrows prove {row.proved_by or row.name}")


def _options_of_prior(name: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The options of a prior's text, and those of its sampling; none of another technique."""
    if name not in PRIORS.parts:
        return [], []
    part = PRIORS.parts[name]
    fitting = signature_of(part, "__init__", PRIORS.shared, PRIORS.supplied)
    return fitting, signature_of(part, "sample", SAMPLING, ("n", "condition"))


def _example(options: Sequence[Mapping[str, str]]) -> str:
    """The first option that has a default, with it."""
    return next(f"{one['name']}={one['default']}" for one in options if one["default"])


def data_list(json: bool = False) -> None:
    """List the data sets that can be opened by name."""
    from narrows import data

    rows = [data.info(name) for name in data.names()]
    if json:
        print_json(rows)
        return
    ready = [row for row in rows if row["opens"]]
    first = max(len(row["name"]) for row in rows)
    for kind in dict.fromkeys(row["kind"] for row in ready):
        heading(kind)
        table([(row["name"], _shape(row), row["title"]) for row in ready if row["kind"] == kind], first)
        print()
    print(f"{len(rows) - len(ready)} more are planned for later releases: narrows data list --json")
    print("Next: narrows data info NAME, or narrows fit NAME --method vae --out runs/NAME")


def data_info(
    name: str, types: str | None = None, missing_values: str | None = None, json: bool = False
) -> None:
    """Show content and licence of a data set, or the columns of a table.

    The columns of a file are those that `narrows fit FILE --method missing-iwae` reads, with their types. The options
    are those of `fit`: --types "grade=ordinal:low<mid<high,zip=categorical" and --missing-values "?,NA".
    """
    from narrows import data

    if Path(name).suffix.lower() in _TABLES:
        _columns(name, json, types=types, missing_values=missing_values)
        return
    for option, value in (("types", types), ("missing_values", missing_values)):
        if value is not None:
            raise refuse(option, value, "left out: it is an option of a file with a table")
    facts = data.info(name)
    options = _data_options(name)
    if json:
        print_json({**facts, "options": options})
        return
    hidden = ("sha256", "downloads", "opens", "shape")
    shown = {"shape": _shape(facts), **{k: v for k, v in facts.items() if k not in hidden}}
    table([(key, "", ", ".join(v) if isinstance(v, list) else str(v)) for key, v in shown.items() if v])
    if options:
        print("\nOptions (--data-option NAME=VALUE):")
        table([(o["name"], o["default"], o["says"]) for o in options])
    if facts["opens"]:
        print(f"\nFit:  narrows fit {name} --method vae --out runs/{name}-vae")


def _columns(path: str, json: bool, **options: Any) -> None:
    """Show the columns of a file."""
    from narrows import data
    from narrows.runs.column_table import column_lines, column_table

    source = data.open(path, kinds=("table",), **options)
    rows = column_table(source)
    if json:
        print_json({"rows": len(source.train) + len(source.test), "columns": rows})
        return
    print(f"{path}: {len(source.train) + len(source.test):,} rows")
    print("\n".join(column_lines(rows)))
    print(f"\nOther types: narrows fit {path} --method missing-iwae --types NAME=KIND")


def data_get(name: str) -> None:
    """Download or generate a data set."""
    from narrows import data

    paths = data.get(name)
    print("\n".join(str(path) for path in paths) or f"`{name}` needs no files.")


def _shape(facts: Mapping[str, Any]) -> str:
    return " x ".join(str(n) for n in facts.get("shape", ()))


def _data_options(name: str) -> list[dict[str, str]]:
    """The options of a named or synthetic data set."""
    from narrows.data.named.registry import SYNTHETIC, find

    folder = Path(__file__).parents[1] / "data"
    if name in SYNTHETIC:
        module_name = name.replace("-", "_")
        return signature(folder / "synthetic" / f"{module_name}.py", module_name)[1]
    row = find(name)
    module, _, function = row.reader.partition(":") if row is not None else ("", "", "")
    return signature(folder / "named" / f"{module}.py", function)[1] if function else []


def _facts(row: Method | Technique) -> dict[str, Any]:
    """The public fields of a row, for `list --json`."""
    keys = ("name", "title", "year", "arxiv", "family", "claim", "centrality", "id")
    return {key: getattr(row, key) for key in keys}


def heading(text: str) -> None:
    """Print a line, bold on a terminal."""
    print(f"\033[1m{text}\033[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text)


def of_method(row: Method) -> tuple[str, list[dict[str, str]]]:
    """The summary of a method and its options, read from the sources.

    A method for arrays and tables has the options of the encoder for missing values too (`methods/tabular/_mixed.py`).
    """
    says, options = signature(source_path(row), row.function, row.family)
    if row.becomes_tabular:
        for option, default in (("withhold", None), ("encoder", "vector")):
            options.append({"name": option, "default": shown(default), "says": SHARED[""][option]})
    return says, options


def source_path(row: Method) -> Path:
    """The file of a method."""
    return Path(methods.__file__).parent.joinpath(*row.module.split(".")).with_suffix(".py")


def table(rows: list[tuple[str, str, str]], first: int = 0) -> None:
    """Print three columns, the last one wrapped to the width of the terminal.

    Args:
        rows: the cells; an empty column is omitted.
        first: minimum width of the first column.
    """
    width = max(60, min(shutil.get_terminal_size((100, 24)).columns, 120))
    first = max([first, *(len(row[0]) for row in rows)])
    second = max((len(row[1]) for row in rows), default=0)
    indent = 2 + first + 2 + (second + 2 if second else 0)
    for name, middle, text in rows:
        lead = f"  {name:<{first}}  " + (f"{middle:<{second}}  " if second else "")
        wrapped = textwrap.wrap(text, max(20, width - indent), break_on_hyphens=False) or [""]
        print((lead + wrapped[0]).rstrip())
        for line in wrapped[1:]:
            print(" " * indent + line)
