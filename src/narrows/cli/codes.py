"""The commands that use a run: `encode`, `decode`, `reconstruct` and `interpolate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from narrows.cli import shared
from narrows.cli.errors import note
from narrows.cli.fields import field_arrays, field_pairs, field_picture, needs_grid
from narrows.cli.output import (
    destination,
    only_json,
    print_json,
    read_codes,
    write_npz,
    write_png,
    write_table,
)
from narrows.cli.texts import is_text, text_destination, write_texts
from narrows.core import files
from narrows.core.check import RequestError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from narrows.core import Batch
    from narrows.data import Dataset
    from narrows.data.readers.cells import Cells
    from narrows.runs.run import Run

__all__ = [
    "EXAMPLES",
    "OPTIONAL_FILE",
    "RESOLUTION",
    "decode",
    "drawing",
    "encode",
    "interpolate",
    "load_run",
    "needed",
    "open_run",
    "place",
    "print_result",
    "reconstruct",
    "show_progress",
    "write_examples",
]

_DATA = Annotated[str, typer.Argument(help="The data: a name or a path, as for `fit`.", metavar="DATA")]
_TABLE = Annotated[Path, typer.Option(help="Output file: .csv, .parquet or .npz.")]
_FILE = Annotated[Path, typer.Option(help="Output file: .npz or .png; for tables .csv, .parquet or .npz.")]
OPTIONAL_FILE = Annotated[
    Path | None,
    typer.Option(
        help="Output file: .npz or .png; for tables .csv, .parquet or .npz; for texts .txt, by default the terminal."
    ),
]
RESOLUTION = Annotated[
    float | None,
    typer.Option(
        help="For fields: number of points along each coordinate, as a multiple of that of the training data."
    ),
]
EXAMPLES, _TABLES = (".npz", ".png"), (".csv", ".parquet", ".npz")
"""Suffixes of files with examples, and with tables."""
_SHOWN = 32
"""Number of examples in a picture of reconstructions."""


def encode(
    run: shared.Run,
    data: _DATA,
    out: _TABLE,
    drop: Annotated[
        str | None,
        typer.Option(
            help="Leave out latents: those that are passive on the training data.", metavar="passive"
        ),
    ] = None,
    force: shared.Force = False,
    json: shared.Json = False,
    *,
    how: shared.ReadingOptions,
    data_options: dict[str, Any],
) -> None:
    """Encode data to codes.

    A .csv or .parquet file has a row for each example and a column for each latent. An .npz file has the arrays z
    (or indices), features, the input of a linear probe, and tokenizer, the hash of the model, with which `narrows
    decode` tells codes of another run. It reads all of these formats; codes without some latents only as .npz.
    """
    path = destination(out, force, _TABLES)
    opened, examples = open_run(run, data, data_options, how)
    with only_json(json), show_progress() as progress:
        arrays = opened.encode(examples, drop=drop, progress=progress)
    if path.suffix.lower() == ".npz":
        import numpy as np

        from narrows.runs.codes import TOKENIZER

        write_npz(path, {**arrays, TOKENIZER: np.array(opened.model.tokenizer_hash())})
        content: Any = {name: list(array.shape) for name, array in arrays.items()}
    else:
        from narrows.runs.code_table import to_columns

        columns = to_columns(arrays)
        write_table(path, columns)
        content = list(columns)
    print_result(json, path, rows=len(examples), holds=content)


def decode(
    run: shared.Run,
    codes: Annotated[Path, typer.Argument(help="A file written by `encode`.", metavar="CODES")],
    out: _FILE,
    force: shared.Force = False,
    json: shared.Json = False,
    *,
    how: shared.ReadingOptions,
) -> None:
    """Decode codes to examples."""
    opened = how.load(run)
    path = place(opened, out, force)
    arrays = read_codes(codes)
    with only_json(json), show_progress() as progress:
        x = opened.decode(arrays, progress=progress)
    write_examples(path, opened, x, json)


def reconstruct(
    run: shared.Run,
    data: Annotated[
        str | None,
        typer.Argument(
            help="The data: a name or a path, as for `fit`; for texts by default the test split of the run."
        ),
    ] = None,
    out: OPTIONAL_FILE = None,
    resolution: RESOLUTION = None,
    impute: Annotated[
        bool,
        typer.Option(
            "--impute",
            help="Keep observed values, and replace missing ones only: the same as `narrows impute`, with its options.",
        ),
    ] = False,
    force: shared.Force = False,
    json: shared.Json = False,
    *,
    how: shared.ReadingOptions,
    data_options: dict[str, Any],
) -> None:
    """Encode and decode data.

    A .png file shows the first examples above their reconstructions. Texts are printed with their reconstructions.
    """
    assert not impute, "main.py calls `narrows impute` then"
    opened = how.load(run)
    if is_text(opened):
        _reconstruct_texts(opened, data, text_destination(out, force), json, data_options)
        return
    path = place(opened, out, force)
    opened, examples = open_run(run, needed(data, "DATA"), data_options, how)
    picture = path.suffix.lower() == ".png"
    shown = examples.take(min(_SHOWN, len(examples))) if picture else examples
    with only_json(json), show_progress() as progress:
        if picture and resolution is None and needs_grid(opened):
            resolution = 1.0
        x = opened.reconstruct(shown, resolution=resolution, progress=progress)
    if not picture:
        write_examples(path, opened, x, json, examples=shown if resolution is None else None)
        return
    from narrows.cli.pictures import picture as drawn

    if opened.recipe.spec.kind == "field":
        pairs = _pairs(*field_pairs(opened, shown, _scaled(opened, x)))
    elif isinstance(x, Mapping):
        name = _drawable(x)
        pairs = _pairs(shown.all().target.values[name].numpy(), _scaled(opened, x[name], name))
    else:
        pairs = _pairs(_with_gaps(shown.all()), _scaled(opened, x))
    write_png(path, drawn(pairs, columns=min(8, len(shown))))
    print_result(json, path, rows=len(shown), holds=["originals", "reconstructions"])


def interpolate(
    run: shared.Run,
    data: _DATA,
    out: _FILE,
    start: Annotated[int, typer.Option("--from", help="Index of the first example.", metavar="I")] = 0,
    end: Annotated[int, typer.Option("--to", help="Index of the last example.", metavar="J")] = 1,
    steps: Annotated[int, typer.Option(help="Number of points, with both ends.")] = 8,
    force: shared.Force = False,
    json: shared.Json = False,
    *,
    how: shared.ReadingOptions,
    data_options: dict[str, Any],
) -> None:
    """Decode points on the line between the codes of two examples."""
    path = place(how.load(run), out, force)
    opened, examples = open_run(run, data, data_options, how)
    points = opened.interpolate(examples, start, end, steps=steps)
    write_examples(path, opened, points, json, columns=steps)


def place(run: Run, out: Path | None, force: bool) -> Path:
    """Where to write examples of a run."""
    return destination(needed(out), force, suffixes(run))


def suffixes(run: Run) -> tuple[str, ...]:
    """The suffixes of files with examples of a run: those of tables if its examples are rows of one."""
    return _TABLES if run.recipe.spec.kind == "table" else EXAMPLES


def needed(value: Any, name: str = "--out") -> Any:
    """The value of an argument that is optional for runs on texts only."""
    if value is None:
        raise RequestError(
            f"Missing {name}: give one, such as {'--out x.npz' if name == '--out' else 'a file'}."
        )
    return value


def _reconstruct_texts(
    run: Run, data: str | None, path: Path | None, json: bool, options: dict[str, Any]
) -> None:
    """Write texts and their reconstructions; only the first ones on the terminal."""
    from narrows.data import like
    from narrows.runs.verbs.texts import texts

    examples = run.data.test if data is None else like(run.recipe.data, data, **options)
    if path is None and not json:
        examples = examples.take(min(_SHOWN, len(examples)))
    with only_json(json), show_progress() as progress:
        x = run.reconstruct(examples, progress=progress)
    write_texts(run, x, path, json, texts(run, examples.all().x.tolist()))


def show_progress() -> Any:
    """A progress bar for short work."""
    from narrows.core.progress import Progress

    return Progress(brief=True)


def print_result(json: bool, path: Path, **facts: Any) -> None:
    """Print the name and content of the output file as JSON, if requested."""
    if json:
        print_json({"wrote": str(path), **facts})


def load_run(run: Path) -> Run:
    """The run in a folder."""
    return shared.ReadingOptions().load(run)


def open_run(
    run: Path, data: str, options: dict[str, Any], how: shared.ReadingOptions | None = None
) -> tuple[Run, Dataset]:
    """A run, and data read with the options and the scaling of the run's own."""
    opened = (how or shared.ReadingOptions()).load(run)
    return opened, open_like(opened, data, options)


def open_like(run: Run, data: str, options: dict[str, Any]) -> Dataset:
    """Data read with the options and the scaling of a run's own; levels that it does not know are said."""
    from narrows.data import like

    examples = like(run.recipe.data, data, **options)
    for name, count in getattr(examples, "unknown", {}).items():
        note(
            f"Column `{name}`: {count} cells have levels that the training data do not have. They are read as missing."
        )
    return examples


def write_examples(
    path: Path,
    run: Run,
    x: Any,
    json: bool,
    columns: int | None = None,
    examples: Dataset | None = None,
    captions: Sequence[str] | None = None,
) -> None:
    """Write examples in the units of the data, or a picture of them; fields at the points of `examples` or on a grid.

    Of several modalities all are written; a picture shows the first that is an image or a series, each example under
    its caption, where there are captions.
    """
    if path.suffix.lower() in (".csv", ".parquet"):
        from narrows.data.readers.cells import Arrays

        of_steps = run.recipe.spec.kind == "series"
        cells = x.cells if isinstance(x, Arrays) else _long(run, x) if of_steps else _columns(run, x)
        files.write(path, cells.encoded(path.suffix.lower()))
        note(f"Wrote {path}")
        print_result(json, path, rows=len(cells), holds=list(cells.columns))
        return
    field, views = run.recipe.spec.kind == "field", isinstance(x, Mapping)
    arrays = x if views else field_arrays(run, x, examples) if field else {"x": x}
    if path.suffix.lower() == ".npz":
        write_npz(path, arrays)
    else:
        write_png(path, drawing(run, x, columns, captions))
    rows = len(next(iter(arrays.values()))) if views else len(x)
    print_result(json, path, rows=rows, holds={name: list(array.shape) for name, array in arrays.items()})


def _columns(run: Run, x: np.ndarray) -> Cells:
    """Rows of a table that was given as an array."""
    from narrows.data.readers.cells import Cells

    return Cells({name: x[:, i] for i, name in enumerate(run.recipe.spec.parts)})


def _long(run: Run, x: np.ndarray) -> Cells:
    """Series (N, T, C) as a table with a row for each step, at equal times if the run was fitted to times.

    Times count from the first step of a series, in the units of the data, seconds for dates.
    """
    import numpy as np

    from narrows.data.readers.cells import Cells
    from narrows.runs.verbs.sample import usual_gap

    reading = run.recipe.data
    columns = {reading.get("series") or "series": np.repeat(np.arange(len(x)), x.shape[1])}
    if "times" in run.recipe.spec.conditions:
        columns[reading.get("time") or "time"] = np.tile(usual_gap(run.model) * np.arange(x.shape[1]), len(x))
    names = reading.get("columns") or [f"x{i}" for i in range(x.shape[2])]
    return Cells({**columns, **{name: x[..., i].reshape(-1) for i, name in enumerate(names)}})


def drawing(
    run: Run, x: Any, columns: int | None = None, captions: Sequence[str] | None = None
) -> np.ndarray:
    """A picture of examples in the units of the data, as bytes (height, width, 3)."""
    from narrows.cli.pictures import picture

    name = _drawable(x) if isinstance(x, Mapping) else None
    scaled = _scaled(run, x if name is None else x[name], name)
    return picture(
        field_picture(run, scaled) if run.recipe.spec.kind == "field" else scaled, columns, captions
    )


def _drawable(values: Mapping[str, np.ndarray]) -> str:
    """The first modality that can be drawn, else the first."""
    return next((name for name, x in values.items() if x.ndim > 2), next(iter(values)))


def _scaled(run: Run, x: np.ndarray, name: str | None = None) -> np.ndarray:
    """Examples in the units of the model: from 0 to 1 for images of bytes."""
    import torch

    from narrows.data import Scaling

    key = "target_scaling" if run.recipe.spec.target is not None else "scaling"
    form = run.recipe.data.get(key) if name is None else run.recipe.data["forms"][name]["scaling"]
    return x if form is None else Scaling.of(form).apply(torch.from_numpy(x)).numpy()


def _with_gaps(batch: Batch) -> np.ndarray:
    """The targets, NaN where nothing is known."""
    target: Tensor = batch.target
    if batch.weight is not None and target.is_floating_point():
        target = target.masked_fill(batch.weight == 0, float("nan"))
    return target.numpy()


def _pairs(above: np.ndarray, below: np.ndarray, columns: int = 8) -> np.ndarray:
    """Rows of originals, each above a row of reconstructions: (2N, ...), padded to whole rows."""
    import numpy as np

    if above.shape != below.shape:
        raise RequestError(
            f"Examples of shape {above.shape[1:]} have reconstructions of shape {below.shape[1:]}: use --out x.npz."
        )
    width = min(columns, len(above))
    missing = -len(above) % width
    blank = np.ones((missing, *above.shape[1:]), above.dtype)
    rows = [np.concatenate([part, blank]).reshape(-1, width, *above.shape[1:]) for part in (above, below)]
    return np.stack(rows, 1).reshape(-1, *above.shape[1:])
