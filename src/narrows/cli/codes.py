"""The verbs that use a run: `encode`, `decode`, `reconstruct`, `sample`, `interpolate` and `score`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from narrows.cli import shared
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
from narrows.cli.texts import is_text, say_texts, text_destination
from narrows.core.check import RequestError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from narrows.core import Batch
    from narrows.data import Dataset
    from narrows.runs.run import Run

__all__ = [
    "decode",
    "encode",
    "interpolate",
    "open_run",
    "reconstruct",
    "sample",
    "score",
    "show_progress",
    "tell",
    "write_examples",
]

_DATA = Annotated[str, typer.Argument(help="A name or a path, as for `fit`.", metavar="DATA")]
_TABLE = Annotated[Path, typer.Option(help="The file to write: .csv, .parquet or .npz.")]
_SHEET = Annotated[Path, typer.Option(help="The .npz or .png file to write.")]
_MAYBE = Annotated[
    Path | None,
    typer.Option(help="The .npz or .png file to write; of texts a .txt file, or the terminal when left out."),
]
_RESOLUTION = Annotated[
    float | None,
    typer.Option(help="Of fields: so many times the points along each side that the fit's data have."),
]
_EXAMPLES, _TABLES = (".npz", ".png"), (".csv", ".parquet", ".npz")
_SHOWN = 32
"""How many examples a picture of reconstructions shows."""


def encode(
    run: shared.Run,
    data: _DATA,
    out: _TABLE,
    force: shared.Force = False,
    json: shared.Json = False,
    *,
    data_options: dict[str, Any],
) -> None:
    """Write the codes of data.

    A .csv or .parquet has a row for each example and a column for each latent. An .npz holds arrays: z (or
    indices), and features, what a probe reads. `narrows decode` reads all of them.
    """
    path = destination(out, force, _TABLES)
    opened, examples = open_run(run, data, data_options)
    with only_json(json), show_progress() as progress:
        arrays = opened.encode(examples, progress=progress)
    if path.suffix.lower() == ".npz":
        write_npz(path, arrays)
        said: Any = {name: list(array.shape) for name, array in arrays.items()}
    else:
        from narrows.runs.code_table import to_columns

        columns = to_columns(arrays)
        write_table(path, columns)
        said = list(columns)
    tell(json, path, rows=len(examples), holds=said)


def decode(
    run: shared.Run,
    codes: Annotated[Path, typer.Argument(help="What `encode` wrote.", metavar="CODES")],
    out: _SHEET,
    force: shared.Force = False,
    json: shared.Json = False,
) -> None:
    """Write what codes stand for."""
    path = destination(out, force, _EXAMPLES)
    arrays = read_codes(codes)
    opened = _load(run)
    with only_json(json), show_progress() as progress:
        x = opened.decode(arrays, progress=progress)
    write_examples(path, opened, x, json)


def reconstruct(
    run: shared.Run,
    data: Annotated[
        str | None, typer.Argument(help="A name or a path, as for `fit`; of texts the run's test part.")
    ] = None,
    out: _MAYBE = None,
    resolution: _RESOLUTION = None,
    force: shared.Force = False,
    json: shared.Json = False,
    *,
    data_options: dict[str, Any],
) -> None:
    """Pass data through the code and back.

    A .png shows the first examples, each above its reconstruction; texts are printed beside theirs.
    """
    opened = _load(run)
    if is_text(opened):
        _rewrite(opened, data, text_destination(out, force), json, data_options)
        return
    path = destination(_needed(out), force, _EXAMPLES)
    opened, examples = open_run(run, _needed(data, "DATA"), data_options)
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
        pairs = _pairs(*field_pairs(opened, shown, _shades(opened, x)))
    elif isinstance(x, Mapping):
        name = _drawable(x)
        pairs = _pairs(shown.all().target.values[name].numpy(), _shades(opened, x[name], name))
    else:
        pairs = _pairs(_shown(shown.all()), _shades(opened, x))
    write_png(path, drawn(pairs, columns=min(8, len(shown))))
    tell(json, path, rows=len(shown), holds=["originals", "reconstructions"])


def sample(
    run: shared.Run,
    out: _MAYBE = None,
    n: Annotated[int, typer.Option("-n", "--n", help="How many.")] = 64,
    seed: Annotated[int, typer.Option(help="The same seed gives the same examples.")] = 0,
    label: Annotated[
        int | None, typer.Option(help="The class that a conditional model is asked for.")
    ] = None,
    draw: Annotated[
        bool, typer.Option("--draw", help="Draw from p(x | z) too, instead of its mean.")
    ] = False,
    resolution: _RESOLUTION = None,
    force: shared.Force = False,
    json: shared.Json = False,
    *,
    sampling: dict[str, Any],
) -> None:
    """Draw new examples.

    `narrows sample RUN --help` shows the options of the run's second stage too, where it has one.
    """
    opened = _load(run)
    path = text_destination(out, force) if is_text(opened) else destination(_needed(out), force, _EXAMPLES)
    with only_json(json), show_progress() as progress:
        resolution = 1.0 if resolution is None and needs_grid(opened) else resolution
        how: dict[str, Any] = {"seed": seed, "label": label, "draw": draw, "resolution": resolution}
        x = opened.sample(n, progress=progress, **how, **sampling)
    if is_text(opened):
        say_texts(opened, x, path, json)
    elif path is not None:
        write_examples(path, opened, x, json)


def interpolate(
    run: shared.Run,
    data: _DATA,
    out: _SHEET,
    start: Annotated[int, typer.Option("--from", help="The row where the walk begins.", metavar="I")] = 0,
    end: Annotated[int, typer.Option("--to", help="The row where it ends.", metavar="J")] = 1,
    steps: Annotated[int, typer.Option(help="How many examples, both ends included.")] = 8,
    force: shared.Force = False,
    json: shared.Json = False,
    *,
    data_options: dict[str, Any],
) -> None:
    """Walk through the code from one example to another."""
    path = destination(out, force, _EXAMPLES)
    opened, examples = open_run(run, data, data_options)
    walk = opened.interpolate(examples, start, end, steps=steps)
    write_examples(path, opened, walk, json, columns=steps)


def score(
    run: shared.Run,
    data: _DATA,
    out: _TABLE,
    samples: Annotated[
        int, typer.Option(help="Codes drawn for each example, where there is a posterior.")
    ] = 64,
    seed: Annotated[int, typer.Option(help="Of those draws.")] = 0,
    force: shared.Force = False,
    json: shared.Json = False,
    *,
    data_options: dict[str, Any],
) -> None:
    """Score each example: how unlikely, or how badly rebuilt.

    The column says which: `nll_nats`, -log p(x) where the code has a posterior, else -log p(x | z); or
    `squared_error`. Both of the data as the model sees them, scaled.
    """
    path = destination(out, force, _TABLES)
    opened, examples = open_run(run, data, data_options)
    with only_json(json), show_progress() as progress:
        scores = opened.score(examples, samples=samples, seed=seed, progress=progress)
    unit = opened.score_unit(examples)
    if path.suffix.lower() == ".npz":
        write_npz(path, {unit: scores})
    else:
        write_table(path, {"row": range(len(scores)), unit: scores})
    tell(json, path, rows=len(scores), holds=[unit], mean=float(scores.mean()))


def _needed(value: Any, called: str = "--out") -> Any:
    """An argument that only runs on texts can do without."""
    if value is None:
        raise RequestError(
            f"Missing {called}: say it, such as {'--out x.npz' if called == '--out' else 'a file'}."
        )
    return value


def _rewrite(run: Run, data: str | None, path: Path | None, json: bool, options: dict[str, Any]) -> None:
    """Texts, and what the run writes from their codes; the first ones on the terminal."""
    from narrows.data import like
    from narrows.runs.verbs.texts import texts

    examples = run.data.test if data is None else like(run.recipe.data, data, **options)
    if path is None and not json:
        examples = examples.take(min(_SHOWN, len(examples)))
    with only_json(json), show_progress() as progress:
        x = run.reconstruct(examples, progress=progress)
    say_texts(run, x, path, json, texts(run, examples.all().x.tolist()))


def show_progress() -> Any:
    """A progress bar that says little."""
    from narrows.core.progress import Progress

    return Progress(brief=True)


def tell(json: bool, path: Path, **facts: Any) -> None:
    """Say what was written, where a program asks."""
    if json:
        print_json({"wrote": str(path), **facts})


def _load(run: Path) -> Run:
    import narrows as nr

    return nr.load(run)


def open_run(run: Path, data: str, options: dict[str, Any]) -> tuple[Run, Dataset]:
    """A run, and data read the way the run's own were, with its scaling."""
    opened = _load(run)
    from narrows.data import like

    return opened, like(opened.recipe.data, data, **options)


def write_examples(
    path: Path,
    run: Run,
    x: Any,
    json: bool,
    columns: int | None = None,
    examples: Dataset | None = None,
    captions: Sequence[str] | None = None,
) -> None:
    """Write examples in the units of the data, or draw them; fields where the examples are, or on a grid.

    Of several modalities all are written; a picture shows the first that is an image or a series, each example under
    its caption, where there are captions.
    """
    field, views = run.recipe.spec.kind == "field", isinstance(x, Mapping)
    arrays = x if views else field_arrays(run, x, examples) if field else {"x": x}
    if path.suffix.lower() == ".npz":
        write_npz(path, arrays)
    else:
        from narrows.cli.pictures import picture

        name = _drawable(x) if views else None
        shades = _shades(run, x if name is None else x[name], name)
        write_png(path, picture(field_picture(run, shades) if field else shades, columns, captions))
    rows = len(next(iter(arrays.values()))) if views else len(x)
    tell(json, path, rows=rows, holds={name: list(array.shape) for name, array in arrays.items()})


def _drawable(values: Mapping[str, np.ndarray]) -> str:
    """The first modality that a picture can show; where there is none, the first."""
    return next((name for name, x in values.items() if x.ndim > 2), next(iter(values)))


def _shades(run: Run, x: np.ndarray, name: str | None = None) -> np.ndarray:
    """Examples in the units of the data as what the model sees: from 0 to 1 for images of bytes."""
    import torch

    from narrows.data import Scaling

    key = "target_scaling" if run.recipe.spec.target is not None else "scaling"
    form = run.recipe.data.get(key) if name is None else run.recipe.data["forms"][name]["scaling"]
    return x if form is None else Scaling.of(form).apply(torch.from_numpy(x)).numpy()


def _shown(batch: Batch) -> np.ndarray:
    """The targets, NaN where nothing is known."""
    target: Tensor = batch.target
    if batch.weight is not None and target.is_floating_point():
        target = target.masked_fill(batch.weight == 0, float("nan"))
    return target.numpy()


def _pairs(above: np.ndarray, below: np.ndarray, columns: int = 8) -> np.ndarray:
    """Rows of originals, each with a row of reconstructions beneath: (2N, ...), N filled up to whole rows."""
    import numpy as np

    if above.shape != below.shape:
        raise RequestError(
            f"Examples of shape {above.shape[1:]} came back as {below.shape[1:]}: use --out x.npz."
        )
    across = min(columns, len(above))
    missing = -len(above) % across
    blank = np.ones((missing, *above.shape[1:]), above.dtype)
    rows = [np.concatenate([part, blank]).reshape(-1, across, *above.shape[1:]) for part in (above, below)]
    return np.stack(rows, 1).reshape(-1, *above.shape[1:])
