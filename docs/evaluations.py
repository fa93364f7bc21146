"""The generated part of the page on figures: the evaluations, from the docstrings of their classes."""

from __future__ import annotations

import inspect
import re

from narrows.audit.evaluations import EVALUATIONS
from narrows.core.texts import shown

__all__ = ["PARTS", "evaluations", "parts_of"]

PARTS = ("Figures", "Chance", "Cost", "Misleads when")
"""The paragraphs that the docstring of an evaluation has after its equation."""


def evaluations() -> str:
    """A table of all evaluations and a section for each, in Markdown."""
    rows = ["| evaluation | measures | seconds |", "|---|---|---|"]
    sections = []
    by_time = sorted(EVALUATIONS.parts, key=lambda name: EVALUATIONS.constructor(name).seconds)
    for name in by_time:
        parts = parts_of(name)
        seconds = f"{EVALUATIONS.constructor(name).seconds:g}"
        rows.append(f"| [`{name}`](#{name}) | {parts['summary'].replace('|', chr(92) + '|')} | {seconds} |")
        sections.append(_section(name, parts))
    return "\n".join(rows) + "\n\n" + "\n\n".join(sections)


def parts_of(name: str) -> dict[str, str]:
    """The parts of an evaluation's docstring: the summary, the definition, each of `PARTS`, and the reference."""
    doc = inspect.getdoc(EVALUATIONS.constructor(name)) or ""
    lead, *named = re.split(r"^(Args|Raises|Example|Reference):\n", doc, flags=re.MULTILINE)
    found = {key: inspect.cleandoc(text) for key, text in zip(named[::2], named[1::2], strict=True)}
    paragraphs = lead.strip().split("\n\n")
    parts = {"summary": " ".join(paragraphs[0].split()), "Reference": found.get("Reference", "")}
    current, definition = "", list[str]()
    for paragraph in paragraphs[1:]:
        start = next((part for part in PARTS if paragraph.startswith(f"{part}:")), "")
        current = start or current
        if not current:
            definition.append(paragraph)
        else:
            text = paragraph.removeprefix(f"{current}:").strip()
            parts[current] = f"{parts[current]}\n\n{text}" if current in parts else text
    return {**parts, "definition": "\n\n".join(definition)}


def _section(name: str, parts: dict[str, str]) -> str:
    """The section of one evaluation."""
    lines = [f"### {name}", parts["summary"], parts["definition"]]
    lines += [f"**{part}.** {_sentence(parts[part])}" for part in PARTS if part in parts]
    options = EVALUATIONS.options(name).values()
    rows = [f"| `{o.name}` | {o.metavar} | `{shown(o.default)}` | {o.description} |" for o in options]
    if rows:
        lines.append("\n".join(["| option | value | default | |", "|---|---|---|---|", *rows]))
    lines.append(f"`narrows audit RUN --with {name}`")
    if parts["Reference"]:
        lines.append(f"*Reference.* {parts['Reference']}")
    return "\n\n".join(line for line in lines if line)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
