"""Generated pages of the site: methods, tables, gallery, diagrams, API reference.

A hook of mkdocs, which writes nothing into the repository. ``python docs/generate.py`` updates the table of families in
the README.
"""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from pathlib import Path
from typing import Any, get_type_hints

sys.path.insert(0, str(Path(__file__).parent))

from equations import Equations
from evaluations import evaluations
from flow import data_flow
from imports import diagram

import proofs
from narrows.core import spelling
from narrows.core.texts import shown
from narrows.methods.index import METHODS, Method, builder, families, in_family
from narrows.methods.options import explained, part_tables
from narrows.methods.options import table as part_table
from narrows.methods.techniques import FAMILY, PRIOR, TECHNIQUES
from narrows.proofs.engine import load

PACKAGE = Path(__file__).parents[1] / "src" / "narrows"
REFERENCE = {
    "Parts": (
        "core",
        "likelihoods",
        "nets",
        "bottlenecks",
        "objectives",
        "priors",
        "kernels",
    ),
    "Work": ("data", "train", "runs", "tournament", "audit", "activations", "proofs", "testing", "sklearn"),
}
UNSHOWN = {"__init__.py", "checks", "named", "readers", "strategies", "harvesting"}
"""Internal files and folders, which are not in the reference."""

FAMILIES = {
    "regularised": "A deterministic code with regularisation.",
    "variational": "An approximate posterior, and a bound on the likelihood.",
    "conditional": "Encoder and decoder are conditioned on labels.",
    "quantised": "A discrete code with a learned prior.",
    "sparse": "Many latents, few of them active.",
    "masked": "Reconstruction of hidden parts of the input.",
    "structured": "Graphs, series, texts and fields.",
    "multimodal": "A shared code of several modalities, any of which may be missing.",
    "tabular": "Mixed tables with missing values, and counts.",
}


def family_table() -> str:
    """The table of families in Markdown, with number and names of methods."""
    lines = ["| family | methods | examples |", "|---|---|---|"]
    for family in families():
        rows = sorted(in_family(family), key=lambda row: (-row.centrality, row.year))
        known = ", ".join(f"`{row.name}`" for row in rows[:6])
        more = f" and {len(rows) - 6} more" if len(rows) > 6 else ""
        lines.append(
            f"| {family}: {FAMILIES[family][0].lower()}{FAMILIES[family][1:-1]} | {len(rows)} | {known}{more} |"
        )
    return "\n".join(lines)


def method_page(row: Method) -> str:
    """The page of a method."""
    function = builder(row.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        drawing = data_flow(function)
    lead, rest = sections(function)
    result = proofs.read(row.name)
    data = "activations.npz" if row.family == "sparse" else "digits"
    parts = [
        f"# {row.name}",
        f'<p class="paper"><a href="{row.url}">{row.title}</a>, {row.year}. {row.reference}. '
        f"Family: {row.family}.</p>",
        f'!!! quote "The claim"\n    {row.claim} {proofs.verdict(result)}',
        lead,
        "## Use",
        f"```\nnarrows fit {data} --method {row.name} --out runs/{row.name}\nnarrows audit runs/{row.name}\n```",
        f'```python\nimport narrows as nr\n\nrun = nr.fit("{data}", method="{row.name}", out="runs/{row.name}")\n'
        "run.audit().show()\n```",
        "## Data flow",
        drawing,
        "## Options",
        options_table(function, row.family),
        rest,
        "## Proof",
        proof_section(row, result),
        "## Source",
        f"The builder is `narrows.methods.{row.module}`, the proof `narrows.proofs.{row.module}`. "
        "Parts of the method:",
        parts_list(function),
    ]
    return "\n\n".join(parts) + "\n"


def sections(function: Any) -> tuple[str, str]:
    """The text of a docstring before its arguments, and the sections after them (example, reference)."""
    doc = inspect.getdoc(function) or ""
    lead, *named = re.split(r"^(Args|Returns|Raises|Example|Reference):\n", doc, flags=re.MULTILINE)
    found = dict(zip(named[::2], map(inspect.cleandoc, named[1::2]), strict=True))
    rest = []
    if "Example" in found:
        rest.append(f"## Example\n\n```pycon\n{found['Example']}\n```")
    if "Reference" in found:
        rest.append(f"## Reference\n\n{found['Reference']}")
    return lead.strip(), "\n\n".join(rest)


def options_table(function: Any, family: str) -> str:
    """The table of the builder's keyword arguments, the options of the command line."""
    notes = explained(inspect.getdoc(function) or "", family)
    hints = get_type_hints(function)
    lines = ["| option | type | default | |", "|---|---|---|---|"]
    for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
        parts = part_table(name, hints[name])
        kind = type_name(hints[name]) if parts is None else f"[{parts.argument}](parts.md#{parts.argument})"
        cells = (f"`--{name.replace('_', '-')}`", kind, f"`{parameter.default!r}`", notes.get(name, ""))
        lines.append(row_of(*cells))
    return "\n".join(lines)


def row_of(*cells: str) -> str:
    """A row of a table in Markdown."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def parts_page() -> str:
    """The page of parts as text: the grammar, and a table for each argument."""
    grammar = inspect.getdoc(spelling) or ""
    sections = [
        f"# Parts as text\n\n{grammar.partition(chr(10) * 2)[2].replace('::' + chr(10), ':' + chr(10))}"
    ]
    for parts in part_tables():
        lines = [f"## {parts.argument}", ", ".join(f"`{word}`: {says}" for word, says in parts.words.items())]
        for name in parts.parts:
            about = (inspect.getdoc(parts.constructor(name)) or "").split("\n\n")[0]
            lines.append(f"### {name}\n\n{' '.join(about.split())}\n\n`{parts.usage(name)}`")
            options = parts.options(name).values()
            rows = [row_of(f"`{o.name}`", o.metavar, default_of(o.default), o.description) for o in options]
            if rows:
                lines.append("\n".join(["| option | value | default | |", "|---|---|---|---|", *rows]))
        sections.append("\n\n".join(line for line in lines if line))
    return "\n\n".join(sections) + "\n"


def default_of(value: Any) -> str:
    """A default as text; empty if it is computed or required."""
    return "" if value is inspect.Parameter.empty else f"`{shown(value)}`"


def type_name(hint: Any) -> str:
    """A readable name of a type."""
    text = hint.__name__ if isinstance(hint, type) and not hasattr(hint, "__args__") else str(hint)
    if "Callable" in text:
        return "number or schedule"
    text = re.sub(r"typing\.|<class '(\w+)'>", r"\1", text)
    return text.replace("tuple[int, ...]", "integers")


def proof_section(row: Method, result: dict[str, Any] | None) -> str:
    """The claims of a proof, with the committed result if there is one."""
    if result is None:
        return f"Not measured yet:\n\n```\nnarrows prove {row.name}\n```"
    notes = load(row.name).notes  # those of the proof, which may be newer than the result
    notes = f"\n\n{notes}" if notes else ""
    return "\n\n".join(
        [proofs.claims_table(result), proofs.numbers_table(result), proofs.conditions(result) + notes]
    )


def parts_list(function: Any) -> str:
    """The modules of this package that the builder's file imports."""
    source = Path(inspect.getsourcefile(function) or "").read_text(encoding="utf-8")
    folders = "bottlenecks|objectives|priors|nets|likelihoods"
    found = re.findall(rf"^from (narrows\.(?:{folders})[\w.]*) import ([\w, ]+)", source, re.MULTILINE)
    lines = [
        f"- `{module}`: {', '.join(f'`{n.strip()}`' for n in names.split(','))}" for module, names in found
    ]
    return "\n".join(lines) or "- `narrows.core`"


def methods_index() -> str:
    """The page of all methods."""
    parts = [
        "# Methods",
        "Every method is one short file: a builder function whose keyword arguments are its hyper-parameters. "
        "`narrows list` prints this table, `narrows paper NAME` shows the paper of a method.",
    ]
    for family in families():
        rows = in_family(family)
        parts.append(f"## {family.capitalize()}\n\n{FAMILIES.get(family, '')}")
        lines = ["| method | paper | claim | verdict |", "|---|---|---|---|"]
        for row in rows:
            result = proofs.read(row.name)
            verdict = proofs.verdict(result)
            lines.append(
                f"| [`{row.name}`]({row.name}.md) | [{row.title}]({row.url}), {row.year} | {row.claim} | {verdict} |"
            )
        parts += ["\n".join(lines), *techniques_table(family)]
    parts.append("## Priors\n\nModels of the codes of a trained autoencoder: see [priors](../priors.md).")
    parts += techniques_table(PRIOR)
    parts.append(f"## {FAMILY.capitalize()}\n\nTechniques that examine and use trained models.")
    parts += techniques_table(FAMILY)
    return "\n\n".join(parts) + "\n"


def techniques_table(family: str) -> list[str]:
    """The table of a family's techniques in Markdown, if it has any."""
    lines = ["| technique | paper | claim | command | verdict |", "|---|---|---|---|---|"]
    for one in TECHNIQUES.values():
        if one.family == family:
            result = proofs.read(one.proved_by or one.name)
            verdict = proofs.verdict(result) + (f" of `{one.proved_by}`" if one.proved_by else "")
            paper = f"[{one.title}]({one.url}), {one.year}"
            lines.append(f"| `{one.name}` | {paper} | {one.claim} | `{one.verb}` | {verdict} |")
    return ["\n".join(lines)] if len(lines) > 2 else []


def gallery() -> str:
    """The page of all proofs."""
    cards = [
        proofs.card(row.name, row.title, row.claim, proofs.read(row.name), f"../methods/{row.name}/")
        for row in METHODS.values()
    ]
    proved = [row for row in TECHNIQUES.values() if not row.proved_by]
    cards += [
        proofs.card(
            row.name,
            row.title,
            row.claim,
            proofs.read(row.name),
            "../priors/" if row.family == PRIOR else "../methods/",
        )
        for row in proved
    ]
    return (
        "---\nhide: [toc]\n---\n\n# Gallery of proofs\n\n"
        f"{proofs.summary([*METHODS, *(row.name for row in proved)])}\n\n"
        "Dots are seeds, the bar is the 90 % interval of the mean, and the claim holds on the shaded side. "
        "See [proofs](essays/proofs.md) for the definition of verdicts. "
        "`narrows prove NAME` repeats a proof; `--data` and `--seeds` change its data and seeds.\n\n"
        f'<div class="proof-cards">{"".join(cards)}</div>\n'
    )


def reference_pages() -> dict[str, tuple[str, str]]:
    """Pages of the API reference: title and text by file name."""
    pages: dict[str, tuple[str, str]] = {}
    for group in ("Parts", "Work"):
        for name in REFERENCE[group]:
            folder = PACKAGE / name
            if folder.is_dir():
                files = sorted(f for f in folder.rglob("*.py") if documented(f) and not UNSHOWN & {*f.parts})
                modules = [
                    ".".join(("narrows", *f.relative_to(PACKAGE).with_suffix("").parts)) for f in files
                ]
                modules.insert(0, f"narrows.{name}")
            elif (PACKAGE / f"{name}.py").is_file():
                modules = [f"narrows.{name}"]
            else:
                continue
            first = f"::: {modules[0]}\n    options: {{heading_level: 1}}"
            body = "\n\n".join([first, *(f"::: {m}" for m in modules[1:])])
            pages[f"api/{name}.md"] = (f"narrows.{name}", body + "\n")
    return pages


def documented(file: Path) -> bool:
    """Whether a module has public names."""
    return not file.stem.startswith("_") and "__all__" in file.read_text(encoding="utf-8")


def on_config(config: Any) -> Any:
    """Register equations and generated pages with mkdocs."""
    config.markdown_extensions.append(Equations())
    nav = {next(iter(entry)): entry for entry in config.nav}
    by_family = [
        {family.capitalize(): [{row.name: f"methods/{row.name}.md"} for row in in_family(family)]}
        for family in families()
    ]
    nav["Methods"]["Methods"] = ["methods/index.md", {"Parts": "methods/parts.md"}, *by_family]
    nav["Reference"]["Reference"] = [{title: path} for path, (title, _) in reference_pages().items()]
    return config


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages."""
    from mkdocs.structure.files import File

    pages = {"methods/index.md": methods_index(), "methods/parts.md": parts_page(), "gallery.md": gallery()}
    pages |= {f"methods/{row.name}.md": method_page(row) for row in METHODS.values()}
    pages |= {path: text for path, (_, text) in reference_pages().items()}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def write_readme(readme: Path) -> None:
    """Update the table of families in the README."""
    text = readme.read_text(encoding="utf-8")
    begin, end = "<!-- methods: python docs/generate.py -->\n", "<!-- end -->"
    head, rest = text.split(begin)
    readme.write_text(f"{head}{begin}{family_table()}\n{rest[rest.index(end) :]}", encoding="utf-8")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Insert generated pictures into a page."""
    picture = "images/compare.png"
    there = (Path(config.docs_dir) / picture).is_file()
    if "<!-- imports -->" in markdown:
        markdown = markdown.replace("<!-- imports -->", diagram())
    if "<!-- evaluations -->" in markdown:
        markdown = markdown.replace("<!-- evaluations -->", evaluations())
    return markdown.replace("<!-- picture -->", f"![Three methods on one page]({picture})" if there else "")


if __name__ == "__main__":
    write_readme(Path(__file__).parents[1] / "README.md")
