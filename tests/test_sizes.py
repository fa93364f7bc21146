"""No file of the package has more than 400 lines, and no function more than 50 beside its docstring."""

import ast
from pathlib import Path

import pytest

import narrows

SOURCE = Path(narrows.__file__).parent
FILE, FUNCTION = 400, 50


def functions(source: str) -> dict[str, int]:
    """The lines of every function by name: from `def` to the end, without those of its docstring."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            found[f"{node.name}, line {node.lineno}"] = lines
    return found


def test_lines_are_counted_without_the_docstring():
    method = 'class A:\n  def f(\n    self,\n  ):\n    """One.\n\n    Two.\n    """\n    return 3\n'
    assert functions(method) == {"f, line 2": 4}
    assert functions('def g():\n    x = """one\n    two"""\n    return x\n') == {"g, line 1": 4}


@pytest.mark.parametrize("suffix", ["*.py", "*.js", "*.css", "*.html"])
def test_no_file_is_too_long(suffix):
    lines = {
        str(path.relative_to(SOURCE)): len(path.read_text(encoding="utf-8").splitlines())
        for path in SOURCE.rglob(suffix)
    }
    assert lines
    assert {name: count for name, count in lines.items() if count > FILE} == {}


def test_no_function_is_too_long():
    long = {
        f"{path.relative_to(SOURCE)}: {name}": count
        for path in SOURCE.rglob("*.py")
        for name, count in functions(path.read_text(encoding="utf-8")).items()
        if count > FUNCTION
    }
    assert long == {}
