"""The evaluations of the audit in the help of `narrows audit`."""

from __future__ import annotations

import ast
import inspect
from importlib.util import find_spec
from pathlib import Path

__all__ = ["listing"]


def listing() -> str:
    """A line for each evaluation: its options, its time and what it measures.

    The classes are read from their source, since an import would import torch.
    """
    from narrows.audit.evaluations import EVALUATIONS

    lines = ["Evaluations for --with, and their typical time on two cores:"]
    for name, path in EVALUATIONS.parts.items():
        module, _, kind = path.partition(":")
        seconds, says, options = _facts(module, kind)
        spelled = f"{name}[:{','.join(options)}]" if options else name
        lines.append(f"{spelled} ({seconds:g} s): {says}")
    return "\n\n".join(lines)


def _facts(module: str, kind: str) -> tuple[float, str, list[str]]:
    """The seconds, the first line of the docstring and the names of the options of a class."""
    spec = find_spec(module)
    source = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    found = next(n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == kind)
    seconds, options = 0.0, list[str]()
    for node in found.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Name) and t.id == "seconds" for t in targets):
                seconds = float(ast.literal_eval(node.value))
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            options = [a.arg for a in (*node.args.args[1:], *node.args.kwonlyargs)]
    says = inspect.cleandoc(ast.get_docstring(found) or "").split("\n\n")[0]
    return seconds, " ".join(says.split()), options
