"""A parser for the commands that must answer at once: Typer alone would take longer than all they do."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from narrows.core.check import RequestError

__all__ = ["call"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Refuse by an exception, as everywhere else; argparse would print and exit."""
        raise RequestError(f"{message[:1].upper()}{message[1:]}. See: {self.prog} --help")


def call(function: Callable[..., Any], name: str, words: Sequence[str]) -> None:
    """Call a command whose parameters are texts (given by place) and options with a default.

    Args:
        function: the command.
        name: how it is typed.
        words: what was typed after its name.

    Raises:
        RequestError: an argument that is missing or that the command does not have.

    Example:
        >>> call(lambda name, json=False: print(name, json), "narrows paper", ["vae", "--json"])
        vae True
    """
    text = inspect.getdoc(function) or ""
    form = argparse.RawDescriptionHelpFormatter
    parser = _Parser(name, description=text.split("\n\nArgs:")[0], formatter_class=form, allow_abbrev=False)
    for parameter in inspect.signature(function).parameters.values():
        flag = "--" + parameter.name.replace("_", "-")
        says = _HELP.get(parameter.name)
        if parameter.default is inspect.Parameter.empty:
            parser.add_argument(parameter.name, metavar=parameter.name.upper(), help=says)
        elif parameter.default is False:
            parser.add_argument(flag, action="store_true", help=says)
        else:
            parser.add_argument(flag, default=parameter.default, metavar=parameter.name.upper(), help=says)
    function(**vars(parser.parse_args(list(words))))


_HELP = {
    "family": "only the methods of one family",
    "json": "print one JSON document and nothing else",
    "name": "a name from the list",
}
