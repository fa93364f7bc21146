"""`sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from narrows.cli import shared
from narrows.cli.errors import Interrupted, note
from narrows.cli.options import literal, method_options
from narrows.cli.output import only_json, print_json
from narrows.core.check import printable, refuse
from narrows.core.texts import text_table

if TYPE_CHECKING:
    from narrows.runs.best import Best, Figure
    from narrows.runs.run import Run

__all__ = ["sweep"]


def sweep(
    data: shared.Data,
    over: Annotated[
        list[str],
        typer.Option(
            help="An option and its values: k=16,32 or seed=0,1 or method=topk-sae,batchtopk-sae. Repeat for each "
            "option; separate values with semicolons if they have commas.",
            metavar="NAME=A,B,...",
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="The folder of the sweep, with a folder for each run.", metavar="RUNS")
    ],
    method: shared.Method = None,
    *,
    how: shared.TrainingOptions,
    seed: Annotated[int, typer.Option(help="Random seed, also of the order of examples in all runs.")] = 0,
    page: Annotated[bool, typer.Option(help="Audit and compare the runs on one page.")] = True,
    choose: Annotated[
        str | None,
        typer.Option(
            help="Audit the runs and name the best by a figure: fvu, splice/ce, or one of an evaluation, such as mdl "
            "or mdl:fvu=0.3.",
            metavar="FIGURE",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the final metrics as JSON.")] = False,
    data_options: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """Fit every combination of some options on the same batches.

    The same command continues an interrupted sweep.
    """
    import narrows as nr

    values, by = values_of(over, method), _figure(choose)
    told = {"page": page and by is None, "data_options": data_options, **how.arguments(), **options}
    try:
        with only_json(json):
            runs = nr.sweep(data, method=method, over=values, out=out, seed=seed, **told)
            choice = None if by is None else _choice(runs, by, out / "compare.html" if page else None)
    except KeyboardInterrupt:
        raise Interrupted("Interrupted. Run the same command to continue.") from None
    _print(runs, choice, json)
    note(
        f"The {len(runs)} runs in {out} are finished."
        + (f" Comparison: {out / 'compare.html'}" if page else "")
    )
    if choice is not None:
        note(choice.says)


def _figure(text: str | None) -> Figure | None:
    """The figure of --choose, refused before anything is trained."""
    from narrows.runs.best import figure

    return None if text is None else figure(text)


def _choice(runs: list[Run], by: Figure, page: Path | None) -> Best:
    """The best run by a figure; the page that compares the runs has the figure and the choice."""
    from narrows.core.progress import Progress
    from narrows.runs.best import best_of
    from narrows.runs.compare import compare

    with Progress() as progress:
        found = best_of(runs, by, progress=progress)
        if page is not None and len(runs) > 1:
            compare(runs, page, progress=progress, chosen=found.says)
    return found


def _print(runs: list[Run], choice: Best | None, json: bool) -> None:
    """The final metrics of the runs, with the figure by which one was chosen."""
    from narrows.runs.sweep import results

    rows = results(runs)
    if choice is not None:
        rows = _with_choice(rows, choice)
    if json:
        print_json(rows)
    else:
        print(printable(text_table([{k: "-" if v is None else v for k, v in row.items()} for row in rows])))


def _with_choice(rows: list[dict[str, Any]], choice: Best) -> list[dict[str, Any]]:
    """The rows with the figure of each run, and which one is chosen."""
    values = [None if check is None else check.value for check in choice.checks]
    return [
        row | {choice.figure.name: value, "chosen": "yes" if row["run"] == choice.run.path.name else "no"}
        for row, value in zip(rows, values, strict=True)
    ]


def values_of(over: list[str], method: str | None = None) -> dict[str, list[Any]]:
    """The values of --over by name, converted as the options of the method.

    Args:
        over: as typed, ``name=a,b``.
        method: the method, if it is not in `over`.

    Raises:
        RequestError: there are no values, or a value is invalid.

    Example:
        >>> values_of(["seed=0,1", "at=resid.1,resid.3"])
        {'seed': [0, 1], 'at': ['resid.1', 'resid.3']}
    """
    values: dict[str, str] = {}
    for text in over:
        name, equals, typed = text.partition("=")
        if not equals or not name.strip() or not typed.strip():
            raise refuse("--over", text, "a name and its values, such as k=16,32")
        name = name.strip().replace("-", "_")
        if name in values:
            raise refuse("--over", text, f"`{name}` once only", "Give all its values in one --over.")
        values[name] = typed
    methods = [method] if method is not None else values.get("method", "").split(",")
    readers = {o.name: o for m in methods if m for o in method_options(m.strip())}
    found = {}
    for name, typed in values.items():
        parts = [part.strip() for part in typed.split(";" if ";" in typed else ",") if part.strip()]
        option = readers.get(name)
        found[name] = [literal(part) if option is None else _read(name, option, part) for part in parts]
    return found


def _read(name: str, option: Any, text: str) -> Any:
    return literal(text) if option.read is None else option.read(f"--over {name}", text)
