"""A parser for fast commands, since the import of Typer takes longer than they do."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from narrows.core.check import RequestError

__all__ = ["call"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise an exception; argparse would print and exit."""
        raise RequestError(f"{message[:1].upper()}{message[1:]}. See: {self.prog} --help")


def call(function: Callable[..., Any], name: str, words: Sequence[str]) -> None:
    """Call a command with positional text arguments, and options with defaults.

    Args:
        function: the command.
        name: the command as typed.
        words: the words after its name.

    Raises:
        RequestError: an argument is missing or unknown.

    Example:
        >>> call(lambda name, json=False: print(name, json), "narrows paper", ["vae", "--json"])
        vae True
    """
    text = inspect.getdoc(function) or ""
    form = argparse.RawDescriptionHelpFormatter
    parser = _Parser(name, description=text.split("\n\nArgs:")[0], formatter_class=form, allow_abbrev=False)
    for parameter in inspect.signature(function).parameters.values():
        flag = "--" + parameter.name.replace("_", "-")
        description = _HELP.get(parameter.name)
        if parameter.default is inspect.Parameter.empty:
            parser.add_argument(parameter.name, metavar=parameter.name.upper(), help=description)
        elif parameter.default is False:
            parser.add_argument(flag, action="store_true", help=description)
        else:
            parser.add_argument(
                flag, default=parameter.default, metavar=parameter.name.upper(), help=description
            )
    function(**vars(parser.parse_args(list(words))))


_HELP = {
    "family": "show only the methods of one family",
    "json": "print a JSON document",
    "missing_values": "texts of a file that mean a missing cell, besides empty ones",
    "name": "a name from the list of methods or data sets",
    "types": "types of columns of a file, NAME=KIND, with commas between",
}
