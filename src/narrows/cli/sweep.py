"""`sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from narrows.cli import shared
from narrows.cli.errors import Interrupted, note
from narrows.cli.options import literal, method_options
from narrows.cli.output import only_json, print_json, text_table
from narrows.core.check import printable, refuse

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
    json: Annotated[bool, typer.Option("--json", help="Print the final metrics as JSON.")] = False,
    data_options: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """Fit every combination of some options on the same batches.

    The same command continues an interrupted sweep.
    """
    import narrows as nr
    from narrows.runs.sweep import results

    values = values_of(over, method)
    try:
        with only_json(json):
            runs = nr.sweep(
                data,
                method=method,
                over=values,
                out=out,
                seed=seed,
                page=page,
                data_options=data_options,
                **how.arguments(),
                **options,
            )
    except KeyboardInterrupt:
        raise Interrupted("Interrupted. Run the same command to continue.") from None
    rows = results(runs)
    if json:
        print_json(rows)
    else:
        print(printable(text_table(rows)))
    note(
        f"The {len(runs)} runs in {out} are finished."
        + (f" Comparison: {out / 'compare.html'}" if page else "")
    )


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
