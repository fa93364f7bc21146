"""`translate`: from some modalities to others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from narrows.cli import shared
from narrows.cli.codes import open_run, show_progress, tell, write_examples
from narrows.cli.output import destination, only_json, write_npz

__all__ = ["translate"]


def translate(
    run: shared.Run,
    data: Annotated[str, typer.Argument(help="A name or a path, as for `fit`.", metavar="DATA")],
    out: Annotated[Path, typer.Option(help="The .npz or .png file to write.")],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            help="What is read, where a row has it: names with commas, all, or others (than --to).",
            metavar="A,B",
        ),
    ] = "others",
    to: Annotated[
        str, typer.Option("--to", help="What is asked for: names with commas, or all.", metavar="A,B")
    ] = "all",
    draws: Annotated[
        int, typer.Option("-n", "--draws", help="Codes drawn for each row; 0 decodes the posterior's mean.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of those draws.")] = 0,
    force: shared.Force = False,
    json: shared.Json = False,
    *,
    data_options: dict[str, Any],
) -> None:
    """Say what some modalities look like, given others.

    Other modalities may be missing from any row, or from the data altogether. A row that has none of those that are
    read is marked absent in NAME_present. A .png shows the first modality that is asked for and is an image.
    """
    path = destination(out, force, (".npz", ".png"))
    opened, examples = open_run(run, data, data_options)
    with only_json(json), show_progress() as progress:
        found = opened.translate(examples, source=source, to=to, draws=draws, seed=seed, progress=progress)
    if path.suffix.lower() == ".npz":
        write_npz(path, found)
        tell(json, path, rows=len(examples), holds={name: list(x.shape) for name, x in found.items()})
        return
    marks = {f"{name}_present" for name in found}
    shown = {
        name: x.reshape(-1, *x.shape[1 + bool(draws) :]) for name, x in found.items() if name not in marks
    }
    write_examples(path, opened, shown, json, columns=draws or None)
