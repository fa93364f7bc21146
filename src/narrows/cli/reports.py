"""`audit`, `features`, `compare`, `prove` and `demo`: what examines, and what shows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from narrows.cli import shared
from narrows.cli.errors import note
from narrows.cli.output import destination, only_json, print_json
from narrows.core.check import refuse

if TYPE_CHECKING:
    from narrows.data import Dataset
    from narrows.runs.run import Run

__all__ = ["audit", "compare", "demo", "features", "prove"]

_JSON = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
_OTHER = Annotated[str | None, typer.Option(help="Other data than the run's own test part.", metavar="DATA")]


def audit(
    run: shared.Run,
    data: _OTHER = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write into; the run's own.", metavar="FOLDER")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the rows that are looked at and of every draw.")] = 0,
    features: Annotated[bool, typer.Option(help="Of a sparse code write features.html too.")] = True,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print the audit as one JSON document; write nothing but into --out."),
    ] = False,
    *,
    data_options: dict[str, Any],
) -> None:
    """Examine a run: audit.json, report.html, features.html.

    On other data than the run's own, audit-NAME.json and so on, beside the run's own.
    """
    import narrows as nr
    from narrows.runs.reports import file_name, name_of
    from narrows.train import Progress

    with only_json(json):
        opened = nr.load(run)
        examples = _other(opened, data, data_options)
        with Progress() as progress:
            write = not json or out is not None
            how: dict[str, Any] = {"write": write, "out": out, "features": features, "seed": seed}
            report = opened.audit(examples, name=name_of(data), progress=progress, **how)
    if json:
        print_json(report.to_json())
    else:
        report.show()
    if write:
        shown = features and report.get("l0") is not None
        names = ["audit.json", "report.html", *(["features.html"] if shown else [])]
        files = [(run if out is None else out) / file_name(name, name_of(data)) for name in names]
        note(
            f"Wrote {' and '.join(str(file) for file in files if file.exists())}: open the page in a browser."
        )


def features(
    run: shared.Run,
    data: _OTHER = None,
    out: Annotated[Path | None, typer.Option(help="The page; features.html in the run folder.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the page that --out names.")] = False,
    count: Annotated[int, typer.Option(help="How many latents are shown.")] = 300,
    examples: Annotated[int, typer.Option(help="How many examples are passed over at most.")] = 50_000,
    latents: Annotated[
        str | None, typer.Option(help="These latents instead: numbers with commas.", metavar="N,N...")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn at random.")] = 0,
    json: _JSON = False,
    *,
    data_options: dict[str, Any],
) -> None:
    """Show what single latents stand for: features.html.

    One page for a sparse code: examples, densities, neighbours.
    """
    chosen = _numbers("--latents", latents)
    page = None if out is None else destination(out, force, (".html",))
    import narrows as nr
    from narrows.core.progress import Progress
    from narrows.runs.features import PAGE, write_features

    with only_json(json):
        opened = nr.load(run)
        dataset = _other(opened, data, data_options)
        page = run / PAGE if page is None else page
        how: dict[str, Any] = {"count": count, "examples": examples, "latents": chosen, "seed": seed}
        with Progress() as progress:
            found = write_features(opened, dataset, out=page, progress=progress, **how)
    if found is None:
        raise refuse(
            "RUN", str(run), "a run whose code is sparse", f"`{opened.method}` has no latents to show."
        )
    if json:
        print_json(found.to_json())
        return
    note(f"Wrote {page}: open the page in a browser.")


def _other(opened: Run, data: str | None, data_options: dict[str, Any]) -> Dataset | None:
    """Other data than the run's own, where they were named."""
    from narrows.data import like

    if data is not None:
        return like(opened.recipe.data, data, **data_options)
    if data_options:
        raise refuse("--data", None, "given where data options are")
    return None


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run folders.", metavar="RUN RUN...")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("compare.html"),
    force: Annotated[bool, typer.Option("--force", help="Replace the page if it exists.")] = False,
) -> None:
    """Compare runs on one page."""
    path = destination(out, force, (".html",))
    import narrows as nr
    from narrows.train import Progress

    with Progress() as progress:
        page = nr.compare(runs, out=path, progress=progress)
    note(f"Wrote {page}: open it in a browser.")


def prove(
    names: Annotated[list[str] | None, typer.Argument(help="Methods.", metavar="NAME...")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every method that has a proof.")] = False,
    family: Annotated[str | None, typer.Option(help="Every method of a family.")] = None,
    scale: Annotated[str, typer.Option(help="quick (seconds), default (minutes) or full.")] = "default",
    seeds: Annotated[str | None, typer.Option(help="How many seeds, or which: 3, or 0,1,5.")] = None,
    data: Annotated[str | None, typer.Option(help="Other data than the proof's own.", metavar="DATA")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "cpu",
    out: Annotated[
        Path | None, typer.Option(help="Where the result is written: a file, or a folder for many.")
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 1 where a claim fails that is not known to."),
    ] = False,
    json: _JSON = False,
    *,
    data_options: dict[str, Any],
) -> int:
    """Measure a paper's claim and give a verdict."""
    from narrows.proofs.run import run

    return run(
        names or (),
        every=every,
        family=family,
        as_json=json,
        strict=strict,
        out=out,
        scale=scale,
        seeds=_seeds(seeds),
        data=data,
        data_options=data_options or None,
        device=device,
    )


def demo(
    out: Annotated[
        Path, typer.Option(help="The folder to make; one that it made before is made anew.")
    ] = Path("demo"),
) -> None:
    """Fit three methods on real data and compare them on one page."""
    from narrows.demo import demo as run_demo

    run_demo(out)


def _numbers(option: str, text: str | None) -> tuple[int, ...]:
    """Numbers with commas between them; none where nothing was typed.

    Example:
        >>> _numbers("--latents", "3,17")
        (3, 17)
    """
    try:
        return tuple(int(part) for part in (text or "").split(",") if part.strip())
    except ValueError:
        raise refuse(option, text, "numbers with commas between them, such as 3,17") from None


def _seeds(text: str | None) -> int | list[int] | None:
    """A count, or which seeds.

    Example:
        >>> _seeds("3"), _seeds("0,1,5")
        (3, [0, 1, 5])
    """
    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise refuse("--seeds", text, "a count such as 3, or seeds such as 0,1,5") from None
    return numbers if "," in text else numbers[0]
