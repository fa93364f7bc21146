"""Arguments in messages as typed on the command line: `--labels kind`, not `labels='kind'`."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from narrows.core.check import Spelling

__all__ = ["spelling"]

_POSITIONAL = {"what": "data", "path": "run"}
"""Python names of positional arguments that have another name on the command line."""


def spelling(parameters: Iterable[Any], words: Sequence[str]) -> Spelling:
    """A function from an argument of Python to its form on the command line.

    Args:
        parameters: the parameters of the command's parser.
        words: the command line, for arguments inside --over and --data-option.

    Example:
        >>> spell = spelling([], ["--over", "k=0,8"])
        >>> spell("k", None), spell("seed", None)
        ('`--over k`', '`seed`')
    """
    flags, positional = {}, {}
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            positional[parameter.name] = re.sub(
                r"[\[\]]|\.\.\.$", "", parameter.metavar or parameter.name.upper()
            )
        else:
            for flag in (*parameter.opts, *parameter.secondary_opts):
                flags[flag.lstrip("-").replace("-", "_")] = flag
            flags.setdefault(parameter.name, parameter.opts[0])  # `--from` is a keyword in Python

    def spell(name: str, value: str | None) -> str:
        inside = next((f for f, w in pairwise(words) if w.startswith(f"{name}=")), "")
        if inside in ("--over", "--data-option"):
            return f"`{inside} {name}`" if value is None else f"`{inside} {name}={_typed(value)}`"
        if name not in flags:
            metavar = positional.get(_POSITIONAL.get(name, name))
            return f"`{metavar or name}`" if value is None else f"`{metavar or name + '=' + _typed(value)}`"
        if value in ("True", "False"):
            flag_name = name if value == "True" else f"no_{name}"
            return f"`{flags.get(flag_name, flags[name])}`"
        return f"`{flags[name]}`" if value is None else f"`{flags[name]} {_typed(value)}`"

    return spell


def _typed(value: str) -> str:
    """A value in Python source as typed in a shell.

    Example:
        >>> _typed("'my column'"), _typed("(256, 128)"), _typed("{'k': [8, 16]}")
        ("'my column'", '256,128', 'k=8,16')
    """
    try:
        found = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    if found is Ellipsis:
        return value
    if isinstance(found, dict):
        return " ".join(f"{name}={_typed(repr(one))}" for name, one in found.items())
    if isinstance(found, (tuple, list)):
        return shlex.quote(",".join(str(one) for one in found))
    return "none" if found is None else shlex.quote(str(found))
