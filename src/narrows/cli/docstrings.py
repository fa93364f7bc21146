"""Summary and options of a function, from its docstring and signature."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

from narrows.core.check import WorkError
from narrows.core.texts import docstring_args, shown
from narrows.methods.options import explained, table

__all__ = ["signature"]


def signature(path: Path, function: str, family: str | None = None) -> tuple[str, list[dict[str, str]]]:
    """A function's summary and options, parsed from its source, since an import may import torch.

    Args:
        path: the source file.
        function: name of a function in the file.
        family: family of a method, for the descriptions of shared options.

    Returns:
        The summary, and name, default and description of each option.

    Raises:
        WorkError: the file does not define the function.
    """
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.exists() else ast.Module([], [])
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            text = inspect.cleandoc(ast.get_docstring(node) or "")
            says = docstring_args(text) if family is None else explained(text, family)
            positional = node.args.args[len(node.args.args) - len(node.args.defaults) :]
            pairs = [*zip(positional, node.args.defaults), *zip(node.args.kwonlyargs, node.args.kw_defaults)]
            options = [
                {"name": a.arg, "default": _default(d), "says": says.get(a.arg, "") + _named(a, family)}
                for a, d in pairs
            ]
            return text.split("\n\n")[0].replace("\n", " "), options
    raise WorkError(f"`{function}` is not in {path}. Install narrows again.")


def _named(argument: ast.arg, family: str | None) -> str:
    """The names that a method's argument accepts."""
    hint = "" if argument.annotation is None else ast.unparse(argument.annotation)
    parts = None if family is None else table(argument.arg, hint)
    return "" if parts is None else f" One of: {', '.join(parts)}."


def _default(node: ast.expr | None) -> str:
    """A default as typed on the command line, or the source of an expression."""
    try:
        return "" if node is None else shown(ast.literal_eval(node))
    except ValueError:
        return "" if node is None else ast.unparse(node)
