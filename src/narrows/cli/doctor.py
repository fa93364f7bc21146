"""`doctor`."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from narrows.cli.output import only_json, print_json
from narrows.core.check import refuse

if TYPE_CHECKING:
    from torch import nn

    from narrows.testing.quantizers import QuantizerCheck

__all__ = ["doctor"]


def doctor(
    what: Annotated[
        str,
        typer.Argument(
            help="A run folder, or a quantiser of any library: the name of a Python module, and of a function in it "
            "that makes the quantiser.",
            metavar="RUN|MODULE:FACTORY",
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print a JSON document on stdout.")] = False,
) -> int:
    """Check a quantiser, of a run or another library: gradients, dead codes, averages.

    The exit code is 1 if a value is not as expected. Modules are also searched in the current folder.
    """
    with only_json(json):
        module = _opened(what)
        from narrows.testing.quantizers import check_quantizer

        found = check_quantizer(module)
    failed = sum(one.ok is False for one in found)
    if json:
        print_json({"quantizer": what, "failed": failed, "checks": [one.to_json() for one in found]})
    else:
        _show(found, failed)
    return 1 if failed else 0


def _opened(what: str) -> nn.Module:
    """The model of a run, or what a factory makes."""
    if ":" not in what or Path(what).exists():
        from narrows.runs.loading import load

        return load(what).model
    name, _, function = what.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        made: Any = getattr(import_module(name), function)
    except (ImportError, AttributeError) as error:
        hint = "Give the name of a module, not of a file: `checks:make` for a function `make` in checks.py."
        raise refuse("MODULE:FACTORY", what, f"an importable function ({error})", hint) from error
    finally:
        sys.path.remove(str(Path.cwd()))
    from torch import nn

    module = made if isinstance(made, nn.Module) else made()
    if not isinstance(module, nn.Module):
        raise refuse(
            "MODULE:FACTORY", what, f"a function that makes a torch module, not {type(module).__name__}"
        )
    return module


def _show(found: list[QuantizerCheck], failed: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from narrows.audit.report.report import shown

    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("", "check", "value", "expected"):
        table.add_column(title, no_wrap=True, justify="right" if title == "value" else "left")
    table.add_column("what it means", ratio=1)
    marks = {True: ("ok", "green"), False: ("bad", "red"), None: ("-", "dim")}
    for one in found:
        cells = (one.name, shown(one.value), one.expected, one.says)
        table.add_row(Text(*marks[one.ok]), *(Text(cell) for cell in cells))
    console = Console()
    console.print(table)
    applied = sum(one.ok is not None for one in found)
    console.print(f"{applied - failed} of {applied} as expected")
