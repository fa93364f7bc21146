"""Summary and options of a function, from its docstring and signature."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Collection, Mapping
from pathlib import Path

from narrows.core.check import WorkError
from narrows.core.texts import docstring_args, shown
from narrows.methods.options import explained, table

__all__ = ["signature", "signature_of"]


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
    for node in _tree(path).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            text = inspect.cleandoc(ast.get_docstring(node) or "")
            says = docstring_args(text) if family is None else explained(text, family)
            return text.split("\n\n")[0].replace("\n", " "), _options(node, says, family)
    raise WorkError(f"`{function}` is not in {path}. Install narrows again.")


def signature_of(
    part: str, method: str, shared: Mapping[str, str], without: Collection[str] = ()
) -> list[dict[str, str]]:
    """The options of a method of a class, its own or inherited, parsed from the sources: arguments with a default.

    Args:
        part: ``module:Class``.
        method: name of the method; its docstring describes the options, that of the class those of ``__init__``.
        shared: descriptions of options that the docstring lacks.
        without: options that are left out.

    Returns:
        Name, default and description of each option.

    Raises:
        WorkError: neither the class nor one of its bases defines the method.

    Example:
        >>> found = signature_of("narrows.priors.maskgit:MaskGIT", "sample", {}, without=("condition",))
        >>> [option["name"] for option in found][:2]
        ['steps', 'noise']
    """
    module, name = part.split(":")
    path = Path(__file__).parents[2].joinpath(*module.split(".")).with_suffix(".py")
    tree = _tree(path)
    known = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    origin = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    if name not in known:
        raise WorkError(f"`{name}` is not in {path}. Install narrows again.")
    for node in known[name].body:
        if isinstance(node, ast.FunctionDef) and node.name == method:
            text = ast.get_docstring(known[name] if method == "__init__" else node) or ""
            says = {**shared, **docstring_args(inspect.cleandoc(text))}
            return [one for one in _options(node, says, None) if one["name"] not in without]
    for base in known[name].bases:
        above = ast.unparse(base).partition("[")[0]
        found = f"{module}:{above}" if above in known else origin.get(above, "")
        if found.startswith("narrows."):
            return signature_of(found, method, shared, without)
    raise WorkError(f"`{name}` in {path} has no `{method}`. Install narrows again.")


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8")) if path.exists() else ast.Module([], [])


def _options(node: ast.FunctionDef, says: Mapping[str, str], family: str | None) -> list[dict[str, str]]:
    """Name, default and description of the arguments of a function that have a default."""
    positional = node.args.args[len(node.args.args) - len(node.args.defaults) :]
    pairs = [*zip(positional, node.args.defaults), *zip(node.args.kwonlyargs, node.args.kw_defaults)]
    return [
        {"name": a.arg, "default": _default(d), "says": says.get(a.arg, "") + _named(a, family)}
        for a, d in pairs
    ]


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
