"""The verb `impute`."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from narrows.cli import shared
from narrows.cli.errors import note
from narrows.cli.output import destination, only_json, print_json

if TYPE_CHECKING:
    from narrows.runs.verbs.imputed import Imputed

__all__ = ["impute"]

_FEW = 10
"""Below this effective sample size, an imputed value hangs on few of the draws."""


def impute(
    run: shared.Run,
    data: Annotated[
        str, typer.Argument(help="A file with empty cells or missing steps, or a name.", metavar="FILE")
    ],
    out: Annotated[Path, typer.Option(help="The file to write: .csv, .parquet or .npz.")],
    samples: Annotated[
        int | None,
        typer.Option(help="Codes drawn for each row, or series.", show_default="1000 a row, 200 a series"),
    ] = None,
    draws: Annotated[
        int,
        typer.Option(
            help="Write the table so many times over, each with a draw of what may be in the holes."
        ),
    ] = 0,
    horizon: Annotated[
        int, typer.Option(help="Append so many steps to each series and fill them: a forecast.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="The same seed fills with the same values.")] = 0,
    force: shared.Force = False,
    json: shared.Json = False,
    *,
    data_options: dict[str, Any],
) -> None:
    """Fill the missing cells of a table or of series; all others stay as they are.

    They stay bit for bit. A number becomes its mean given the rest of the row or series, a category its most probable
    value. The columns, their order and their units are those of the file. Of series, steps after the end are forecast:
    --horizon 12, or rows with times of your own and empty cells.
    """
    path = destination(out, force, (".csv", ".parquet", ".npz"))
    import narrows as nr
    from narrows.core import files
    from narrows.core.progress import Progress
    from narrows.runs.verbs.impute import impute as fill

    opened = nr.load(run)
    with only_json(json), Progress(brief=True) as progress:
        how: dict[str, Any] = {"samples": samples, "draws": draws, "seed": seed, "horizon": horizon}
        done = fill(opened, data, progress=progress, **how, **data_options)
    files.write(path, done.encoded(path.suffix.lower()))
    for sentence in _said(done):
        note(sentence)
    note(f"Wrote {path}")
    if json:
        print_json({"wrote": str(path), **_counted(done)})


def _counted(done: Imputed) -> dict[str, Any]:
    """What was done, in numbers."""
    return {
        "rows": len(done.cells),
        "filled": dict(done.filled),
        "appended": done.appended,
        "unknown": dict(done.unknown),
        "unread": list(done.unread),
        "median_ess": float(median(done.ess)) if len(done.ess) else None,
    }


def _said(done: Imputed) -> list[str]:
    """What a user should know of the table."""
    if not done.filled and not done.appended:
        sentences = ["No cell of the columns that the model reads is missing: nothing was filled."]
    else:
        cells, columns = sum(done.filled.values()), len(done.filled)
        sentences = [f"Appended {done.appended} steps and filled them."] if done.appended else []
        if done.filled:
            sentences.append(f"Filled {cells} cells in {columns} column{'s' * (columns > 1)}.")
    few = int((done.ess < _FEW).sum())
    if few > len(done.ess) // 20:
        sentences.append(
            f"In {few} of the {len(done.ess)} examples with holes the values hang on fewer than {_FEW} of the draws: "
            "try a larger --samples."
        )
    for name, count in done.unknown.items():
        sentences.append(
            f"Column `{name}`: {count} cells hold what was not there when the model was fitted. They are left as "
            "they are, and the model took them for missing."
        )
    if done.unread:
        sentences.append(
            f"The model does not read {', '.join(f'`{name}`' for name in done.unread)}: left with empty cells."
        )
    return sentences
