"""`impute`."""

from __future__ import annotations

from dataclasses import dataclass
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
"""Below this effective sample size, an imputed value is unreliable."""


@dataclass(frozen=True)
class ImputationOptions:
    """How missing values are imputed."""

    samples: Annotated[
        int | None,
        typer.Option(
            help="Number of codes drawn for each row or series.",
            show_default="1000 per row, 200 per series or image",
        ),
    ] = None
    draws: Annotated[
        int,
        typer.Option(
            help="Multiple imputation: number of copies of the table, each with a draw for the missing values."
        ),
    ] = 0
    intervals: Annotated[
        float,
        typer.Option(
            help="Add columns NAME_lower and NAME_upper: an interval of this probability for each imputed number.",
            metavar="P",
            show_default="none",
        ),
    ] = 0.0
    ess: Annotated[
        bool,
        typer.Option("--ess", help="Add a column with the effective sample size of each row of a table."),
    ] = False
    horizon: Annotated[
        int, typer.Option(help="Number of steps to forecast, which are appended to each series.")
    ] = 0
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0


def impute(
    run: shared.Run,
    data: Annotated[
        str, typer.Argument(help="Data with missing cells or steps: a file or a name.", metavar="FILE")
    ],
    out: Annotated[Path, typer.Option(help="Output file: .csv, .parquet or .npz.")],
    force: shared.Force = False,
    json: shared.Json = False,
    *,
    how: ImputationOptions,
    data_options: dict[str, Any],
) -> None:
    """Impute missing values of tables, images and series, and forecast series.

    Observed cells are not changed. A missing number becomes its mean given the rest of the row or series, a missing
    category its most probable value. The output has the columns and units of the file. Forecasts of series:
    --horizon 12, or rows with future times and empty cells. `narrows reconstruct RUN FILE --impute` is the same.
    """
    path = destination(out, force, (".csv", ".parquet", ".npz"))
    import narrows as nr
    from narrows.core import files
    from narrows.core.check import refuse
    from narrows.core.progress import Progress
    from narrows.runs.verbs.impute import impute as fill

    opened = nr.load(run)
    if (
        opened.recipe.spec.kind == "array"
        and len(opened.recipe.spec.shape) > 1
        and path.suffix.lower() != ".npz"
    ):
        raise refuse("--out", str(path), "an .npz file for images and other arrays")
    with only_json(json), Progress(brief=True) as progress:
        done = fill(opened, data, progress=progress, **vars(how), **data_options)
    files.write(path, done.encoded(path.suffix.lower()))
    for message in _messages(done):
        note(message)
    note(f"Wrote {path}")
    if json:
        print_json({"wrote": str(path), **_counted(done)})


def _counted(done: Imputed) -> dict[str, Any]:
    """What was done, in numbers."""
    from numpy import isnan

    return {
        "rows": len(done.cells),
        "filled": dict(done.filled),
        "appended": done.appended,
        "unknown": dict(done.unknown),
        "unread": list(done.unread),
        "low_ess": _few(done),
        "median_ess": float(median(done.ess)) if len(done.ess) and not isnan(done.ess).all() else None,
    }


def _few(done: Imputed) -> int:
    """The number of rows or series whose effective sample size is too small."""
    return int((done.ess < _FEW).sum())


def _messages(done: Imputed) -> list[str]:
    """Messages about the imputed table."""
    from numpy import isnan

    if not done.filled and not done.appended:
        messages = ["No cells are missing in the columns that the model reads: nothing was imputed."]
    else:
        cells, columns = sum(done.filled.values()), len(done.filled)
        messages = [f"Appended {done.appended} forecast steps."] if done.appended else []
        if done.filled:
            messages.append(f"Imputed {cells} cells in {columns} column{'s' * (columns > 1)}.")
    if len(done.ess) and isnan(done.ess).all():
        messages.append(
            "This method has no posterior: the values are decoded from the one code of each row, without importance "
            "weights, and draws do not vary with the code."
        )
    if few := _few(done):
        messages.append(
            f"{few} of the {len(done.ess)} examples with missing values have an effective sample size below {_FEW}, so "
            "their values are uncertain: try a larger --samples."
        )
    for name, count in done.unknown.items():
        messages.append(
            f"Column `{name}`: {count} cells have categories that the training data do not have. They are not "
            "changed, and the model treats them as missing."
        )
    if done.unread:
        messages.append(
            f"The model does not read {', '.join(f'`{name}`' for name in done.unread)}: their empty cells remain."
        )
    return messages
