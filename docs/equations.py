"""Equations of docstrings (``.. math::``) as inline SVG, drawn at build time, without scripts or network access."""

from __future__ import annotations

import io
import re
from functools import lru_cache
from html import escape
from xml.etree import ElementTree
from zlib import crc32

import matplotlib as mpl
from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import math_to_image

__all__ = ["Equations", "draw"]

_SIZE = 13.5
# Unsupported commands, and replacements.
_REWRITES = (
    (r"\\label\{[^}]*\}", ""),
    (r"\\(tfrac|dfrac)", r"\\frac"),
    (r"\\frac\s*(\w)\s*(\w)", r"\\frac{\1}{\2}"),
    (r"\\frac\s*(\w)\s*\{", r"\\frac{\1}{"),
    (r"\\textstyle\s*", ""),
    (r"\\(lVert|rVert)", r"\\|"),
    (r"\\(lvert|rvert)", "|"),
    (r"\\operatorname\*?\{(\w+)\}", r"\\mathrm{\1}"),
    (r"\\arg\\(min|max)_(\{[^}]*\}|\w)", r"\\mathrm{arg\\,\1}_{\2}"),
    (r"\\qquad", r"\\quad\\quad"),
    (r"\\[bB]igg?[lr]?(?=[^a-z])", ""),
    (r"\\(ge|le|ne)(?![a-z])", r"\\\1q"),
    (r"&=", "="),
    (r"\\!", ""),
)


def draw(tex: str) -> str:
    """An equation as HTML: an SVG per line, or the source if a symbol is unknown."""
    lines = [line.strip() for line in re.split(r"\\\\(?![,;])", " ".join(tex.split())) if line.strip()]
    # A wide space separates equations: on their own lines they fit a phone.
    lines = [part.strip() for line in lines for part in re.split(r"\\q?quad(?![a-z])", line) if part.strip()]
    try:
        drawn = "".join(f'<div class="equation-line">{_svg(_rewrite(line))}</div>' for line in lines)
    except (ValueError, RuntimeError):
        return f'<div class="equation equation-source"><code>{escape(tex)}</code></div>'
    return f'<div class="equation" role="math" aria-label="{escape(" ".join(tex.split()), quote=True)}">{drawn}</div>'


def _rewrite(tex: str) -> str:
    for pattern, replacement in _REWRITES:
        tex = re.sub(pattern, replacement, tex)
    return _underbraces(tex)


def _underbraces(tex: str) -> str:
    r"""``\underbrace{A}_{b}`` as A over b, since braces are not supported."""
    mark = "\\underbrace"
    while mark in tex:
        start = tex.index(mark)
        above, rest = _group(tex[start + len(mark) :])
        below, rest = _group(rest.lstrip("_"))
        tex = f"{tex[:start]}\\underset{{{below}}}{{{above}}}{rest}"
    return tex


def _group(tex: str) -> tuple[str, str]:
    """The content of the first braces, and the text after them."""
    depth = 0
    for i, character in enumerate(tex):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return tex[1:i], tex[i + 1 :]
    raise ValueError("unbalanced braces")


@lru_cache(maxsize=512)
def _svg(tex: str) -> str:
    out = io.StringIO()
    with mpl.rc_context({"mathtext.fontset": "stix", "svg.fonttype": "path", "svg.hashsalt": "narrows"}):
        math_to_image(f"${tex}$", out, prop=FontProperties(size=_SIZE), format="svg")
    root = ElementTree.fromstring(out.getvalue())
    for element in list(root):
        if not element.tag.endswith("}g"):
            root.remove(element)
    for parent in root.iter():
        for child in list(parent):
            if child.get("id") == "patch_1":  # the white ground
                parent.remove(child)
    for element in root.iter():
        if "style" in element.attrib and "fill" in element.get("style", ""):
            element.set("style", re.sub(r"#000000|black", "currentColor", element.get("style", "")))
    prefix = f"e{crc32(tex.encode()):08x}-"
    text = ElementTree.tostring(root, encoding="unicode")
    text = re.sub(r"(?<=<)ns\d+:|(?<=</)ns\d+:|(?<= )ns\d+:(?=href)", "", text)
    text = re.sub(r' xmlns:ns\d+="[^"]*"', "", text).replace(
        "<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1
    )
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    return re.sub(r'(xlink:)?href="#', f'href="#{prefix}', text)


class _Blocks(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        out: list[str] = []
        rest = list(lines)
        while rest:
            line = rest.pop(0)
            found = re.match(r"^(\s*)\.\. math::\s*(.*)$", line)
            if found is None:
                out.append(_inline(line))
                continue
            indent, tex = len(found.group(1)), [found.group(2)]
            if not found.group(2) and rest and not rest[0].strip():
                rest.pop(0)
            while rest and rest[0].strip() and len(rest[0]) - len(rest[0].lstrip()) > indent:
                tex.append(rest.pop(0))
            out += ["", self.md.htmlStash.store(draw(" ".join(tex))), ""]
        return out


def _inline(line: str) -> str:
    return re.sub(r":math:`([^`]+)`", r"`\1`", line)


class Equations(Extension):
    """The Markdown extension."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.preprocessors.register(_Blocks(md), "narrows-equations", 27)
