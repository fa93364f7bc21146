"""`predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from narrows.cli import shared
from narrows.cli.codes import open_run, print_result, show_progress
from narrows.cli.output import destination, one_a_row, only_json, write_npz, write_table

__all__ = ["predict"]


def predict(
    run: shared.Run,
    data: Annotated[str, typer.Argument(help="The data: a name or a path, as for `fit`.", metavar="DATA")],
    out: Annotated[Path, typer.Option(help="The .csv, .parquet or .npz file to write.")],
    draws: Annotated[
        int,
        typer.Option(
            "-n",
            "--draws",
            help="Mean over the predictions of this number of codes; 0 decodes the posterior mean.",
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    force: shared.Force = False,
    json: shared.Json = False,
    *,
    data_options: dict[str, Any],
) -> None:
    """Predict labels, or another target, from data.

    The data need no labels.

    Of labels, the file has the most probable class of each row, and the probabilities of all classes.
    """
    path = destination(out, force, (".csv", ".parquet", ".npz"))
    opened, examples = open_run(run, data, data_options)
    with only_json(json), show_progress() as progress:
        found = opened.predict(examples, draws=draws, seed=seed, progress=progress)
    if path.suffix.lower() == ".npz":
        write_npz(path, found)
    else:
        write_table(path, one_a_row(found))
    holds = {name: list(x.shape) for name, x in found.items()}
    print_result(json, path, rows=len(examples), holds=holds)
