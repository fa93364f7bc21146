"""The diagram of packages in layers, with their imports."""

from __future__ import annotations

import ast
import configparser
from collections import Counter
from html import escape
from pathlib import Path

__all__ = ["diagram", "imports", "layers"]

ROOT = Path(__file__).parents[1]
_WIDE, _HIGH, _GAP, _STEP, _MARGIN = 112, 30, 24, 66, 8


def layers() -> list[list[str]]:
    """The packages of each layer in ``.importlinter``, from the top down."""
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter")
    rows = config["importlinter:contract:layers"]["layers"].split("\n")
    return [[name.strip(" ()") for name in row.split(":")] for row in rows if row.strip()]


def imports(package: Path = ROOT / "src" / "narrows") -> Counter[tuple[str, str]]:
    """The number of files with imports, by (importing package, imported package)."""
    found: Counter[tuple[str, str]] = Counter()
    for file in sorted(package.rglob("*.py")):
        importer = file.relative_to(package).parts[0].removesuffix(".py")
        names = {name for node in ast.walk(ast.parse(file.read_text("utf-8"))) for name in _imported(node)}
        imported = {name.split(".")[1] for name in names if name.startswith("narrows.")}
        found.update((importer, other) for other in imported - {importer})
    return found


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def diagram() -> str:
    """An SVG with an arrow for each pair of packages; its width is the number of files, which its title shows."""
    rows = [row for row in layers() if row != ["__main__"]]
    width = 5 * (_WIDE + _GAP) - _GAP + 2 * _MARGIN
    places: dict[str, tuple[float, float]] = {}
    for level, row in enumerate(rows):
        aside = (
            (-1, 0, 1)[level % 3] * (_WIDE + _GAP) if len(row) == 1 else 0
        )  # so that arrows do not overlap
        left = (width - len(row) * (_WIDE + _GAP) + _GAP) / 2 + aside
        for number, package in enumerate(row):
            places[package] = (left + number * (_WIDE + _GAP), _MARGIN + level * _STEP)
    height = _MARGIN * 2 + (len(rows) - 1) * _STEP + _HIGH
    arrows = [
        _arrow(places[a], places[b], f"{a} imports {b}: {count} files", count)
        for (a, b), count in sorted(imports().items())
        if a in places and b in places
    ]
    boxes = [
        f'<g><rect x="{x:.0f}" y="{y:.0f}" width="{_WIDE}" height="{_HIGH}" rx="5"/>'
        f'<text x="{x + _WIDE / 2:.0f}" y="{y + _HIGH / 2 + 4:.0f}">{escape(package)}</text></g>'
        for package, (x, y) in places.items()
    ]
    return (
        f'<svg class="imports" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="Imports between packages">{"".join(arrows)}{"".join(boxes)}</svg>'
    )


def _arrow(start: tuple[float, float], end: tuple[float, float], title: str, count: int) -> str:
    """A curve from the lower edge of one box to the upper edge of another."""
    (x0, y0), (x1, y1) = start, end
    x0, x1 = x0 + _WIDE / 2, x1 + _WIDE / 2
    y0 += _HIGH
    bend = (y1 - y0) / 2
    thick = min(4.0, 0.6 + count**0.5 / 3)
    return (
        f'<path d="M{x0:.0f} {y0:.0f} C{x0:.0f} {y0 + bend:.0f} {x1:.0f} {y1 - bend:.0f} {x1:.0f} {y1:.0f}" '
        f'stroke-width="{thick:.1f}"><title>{escape(title)}</title></path>'
    )
