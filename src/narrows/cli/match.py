"""`match`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from narrows.cli import shared
from narrows.cli.errors import note
from narrows.cli.output import destination, only_json, print_json

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["match"]


def match(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders, folders of groups and sweeps, or dictionaries of other libraries.",
            metavar="RUN RUN...",
        ),
    ],
    on: Annotated[
        list[str] | None,
        typer.Option(
            help="Also correlate latents on these data; each run reads its own layer. For different models repeat it, "
            "a harvest for each run, of the same text and tokenizer.",
            metavar="DATA",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(help="Largest number of tokens of --on.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write a page.", metavar="FILE.html")] = None,
    force: shared.Force = False,
    json: Annotated[bool, typer.Option("--json", help="Print the figures and all partners as JSON.")] = False,
    *,
    how: shared.ReadingOptions,
) -> None:
    """Match the latents of dictionaries: which do the runs share?

    Latents are matched by encoder and decoder rows, beside random dictionaries of the same shapes.
    """
    page = None if out is None else destination(out, force, (".html",))
    from narrows.audit.report.matched import match_page
    from narrows.core import files
    from narrows.runs.match import match as matched
    from narrows.train import Progress

    def read(path: Path) -> Run:
        """A run of this package has no other reading."""
        return (shared.ReadingOptions() if (path / "recipe.json").is_file() else how).load(path)

    with only_json(json), Progress() as progress:
        found = matched(runs, on or (), limit=limit, seed=seed, progress=progress, read=read)
    if page is not None:
        files.write(page, match_page(found).encode())
    if json:
        print_json(found.to_json())
    else:
        found.show()
    if page is not None:
        note(f"Wrote {page}: open it in a browser.")
