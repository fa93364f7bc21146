"""`list`, `paper` and `data`: what there is. These answer without importing torch."""

from __future__ import annotations

import ast
import inspect
import os
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

from narrows import methods
from narrows.check import WorkError
from narrows.cli.docstrings import docstring_args, shown
from narrows.cli.output import print_json
from narrows.methods.index import Method, find, in_family

__all__ = ["data_get", "data_info", "data_list", "list_methods", "paper"]


def list_methods(family: str | None = None, json: bool = False) -> None:
    """List the methods: name, year, paper and claim."""
    rows = in_family(family)
    if json:
        print_json([_facts(row) for row in rows])
        return
    first = max(len(row.name) for row in rows)
    for kind in dict.fromkeys(row.family for row in rows):
        heading(kind)
        table([(row.name, str(row.year), row.claim) for row in rows if row.family == kind], first)
        print()
    print("Next: narrows paper NAME, or narrows fit DATA --method NAME --help")


def paper(name: str, json: bool = False) -> None:
    """Show the paper behind a method, its claim and its options."""
    row = find(name)
    says, options = builder_source(row)
    if json:
        print_json({**_facts(row), "summary": says, "options": options})
        return
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    heading(f"{row.title} ({row.year})")
    print(f"{link(row.arxiv)}\n\n{textwrap.fill(says, width)}\n")
    print(textwrap.fill(f"Claim: {row.claim}", width, subsequent_indent="       "))
    if options:
        print("\nOptions:")
        table([("--" + o["name"].replace("_", "-"), o["default"], o["says"]) for o in options])
    print(f"\nFit it:    narrows fit digits --method {row.name} --out runs/{row.name}")
    print(f"Prove it:  narrows prove {row.name}")
    print(f"Its code:  {source_path(row)}")


def data_list(json: bool = False) -> None:
    """List the data that can be opened by name."""
    from narrows import data

    rows = [data.info(name) for name in data.names()]
    if json:
        print_json(rows)
        return
    table([(str(row["name"]), str(row.get("title", "")), "") for row in rows])


def data_info(name: str, json: bool = False) -> None:
    """Show what a named data set holds and where it comes from."""
    from narrows import data

    facts = data.info(name)
    if json:
        print_json(facts)
        return
    table([(str(key), "", str(value)) for key, value in facts.items() if value not in (None, "", [], {})])


def data_get(name: str) -> None:
    """Make a named data set ready to use on this machine."""
    from narrows import data

    print(data.get(name))


def _facts(row: Method) -> dict[str, Any]:
    """A row as a document: what `list --json` promises, and nothing of where our code lies."""
    kept = ("name", "title", "year", "arxiv", "family", "claim", "centrality", "id")
    return {key: getattr(row, key) for key in kept}


def heading(text: str) -> None:
    """Print a line, bold on a terminal."""
    print(f"\033[1m{text}\033[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text)


def link(reference: str) -> str:
    """Where a paper can be read.

    Example:
        >>> link("1312.6114"), link("doi:10.1126/science.1127647")
        ('https://arxiv.org/abs/1312.6114', 'https://doi.org/10.1126/science.1127647')
    """
    if reference.startswith("doi:"):
        return f"https://doi.org/{reference[4:]}"
    return f"https://arxiv.org/abs/{reference}" if reference[:1].isdigit() else reference


def source_path(row: Method) -> Path:
    """The file of a method."""
    return Path(methods.__file__).parent.joinpath(*row.module.split(".")).with_suffix(".py")


def builder_source(row: Method) -> tuple[str, list[dict[str, str]]]:
    """A builder's first docstring line and its options, read from its source: importing it would import torch.

    Args:
        row: the method.

    Returns:
        The summary, and for each option its name, default and what it does.

    Raises:
        WorkError: the file does not define the builder.
    """
    path = source_path(row)
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.exists() else ast.Module([], [])
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == row.function:
            text = inspect.cleandoc(ast.get_docstring(node) or "")
            says = docstring_args(text)
            pairs = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            options = [{"name": a.arg, "default": _default(d), "says": says.get(a.arg, "")} for a, d in pairs]
            return text.split("\n\n")[0].replace("\n", " "), options
    raise WorkError(f"The builder of `{row.name}` is not in {path}. Install narrows again.")


def _default(node: ast.expr | None) -> str:
    """A default as it would be typed, or as the source has it where it is a name."""
    try:
        return "" if node is None else shown(ast.literal_eval(node))
    except ValueError:
        return "" if node is None else ast.unparse(node)


def table(rows: list[tuple[str, str, str]], first: int = 0) -> None:
    """Print three columns, the last one wrapped to the terminal.

    Args:
        rows: the cells; a column whose cells are all empty takes no room.
        first: the least width of the first column.
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
