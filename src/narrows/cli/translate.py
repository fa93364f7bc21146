"""`translate`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from narrows.cli import shared
from narrows.cli.codes import open_run, print_result, show_progress, write_examples
from narrows.cli.output import destination, one_a_row, only_json, write_npz, write_table

if TYPE_CHECKING:
    import numpy as np

    from narrows.data import Dataset
    from narrows.runs.run import Run

__all__ = ["translate"]

_SHOWN = 64
"""How many translations a picture shows."""


def translate(
    run: shared.Run,
    data: Annotated[str, typer.Argument(help="The data: a name or a path, as for `fit`.", metavar="DATA")],
    out: Annotated[Path, typer.Option(help="The .npz, .csv, .parquet or .png file to write.")],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            help="Input modalities: names separated by commas, all, or others (all but those of --to).",
            metavar="A,B",
        ),
    ] = "others",
    to: Annotated[
        str, typer.Option("--to", help="Output modalities: names separated by commas, or all.", metavar="A,B")
    ] = "all",
    draws: Annotated[
        int,
        typer.Option(
            "-n", "--draws", help="Number of codes drawn for each row; 0 decodes the posterior mean."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    force: shared.Force = False,
    json: shared.Json = False,
    *,
    data_options: dict[str, Any],
) -> None:
    """Predict some modalities from others.

    Other modalities may be missing from any row, or from the data altogether. A row that has none of those that are
    read is marked absent in NAME_present. A .csv or .parquet takes modalities of one class or number a row; in a
    .csv what is absent is empty. A .png shows the first translations to the first modality that is asked for and is
    an image, under the classes that they were read from.
    """
    path = destination(out, force, (".npz", ".csv", ".parquet", ".png"))
    opened, examples = open_run(run, data, data_options)
    kind = path.suffix.lower()
    if kind == ".png":
        examples = examples.take(min(max(1, _SHOWN // max(1, draws)), len(examples)))
    with only_json(json), show_progress() as progress:
        found = opened.translate(examples, source=source, to=to, draws=draws, seed=seed, progress=progress)
    holds = {name: list(x.shape) for name, x in found.items()}
    if kind == ".npz":
        write_npz(path, found)
        print_result(json, path, rows=len(examples), holds=holds)
    elif kind == ".png":
        marks = {f"{name}_present" for name in found}
        shown = {
            name: x.reshape(-1, *x.shape[1 + bool(draws) :]) for name, x in found.items() if name not in marks
        }
        captions = _classes(opened, examples, source, to, max(1, draws))
        write_examples(path, opened, shown, json, columns=draws or None, captions=captions)
    else:
        write_table(path, _columns(found, kind == ".csv"))
        print_result(json, path, rows=len(examples), holds=holds)


def _columns(found: Mapping[str, np.ndarray], empty: bool) -> dict[str, np.ndarray]:
    """Translations as the columns of a table; where `empty`, what is absent is the empty text."""
    import numpy as np

    columns = one_a_row(found)
    for name in [name for name in columns if f"{name}_present" in columns] if empty else ():
        columns[name] = np.where(columns[f"{name}_present"], columns[name].astype(np.str_), "")
    return columns


def _classes(run: Run, examples: Dataset, source: str, to: str, times: int) -> list[str] | None:
    """The classes that each translation was read from, None where no modality that is read is one of classes."""
    from narrows.data.views import in_units
    from narrows.runs.verbs.translate import inputs_and_outputs

    inputs, _ = inputs_and_outputs(run, source, to)
    named = [name for name in inputs if run.recipe.spec.parts[name].values == "categories"]
    if not named:
        return None
    x = examples.all().x
    words = in_units(run.recipe.data["forms"], {name: x.values[name] for name in named})
    here = {name: x.has(name).tolist() for name in named}
    rows = [" ".join(str(words[name][i]) for name in named if here[name][i]) for i in range(len(examples))]
    return [row for row in rows for _ in range(times)]
