"""`choose`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from narrows.cli import shared
from narrows.cli.errors import Interrupted, note
from narrows.cli.output import only_json, print_json
from narrows.core.check import printable
from narrows.core.texts import text_table

if TYPE_CHECKING:
    from narrows.tournament import Chosen

__all__ = ["choose"]


def choose(
    data: shared.Data,
    goal: Annotated[
        str, typer.Option("--for", help="reconstruct, impute, generate, detect or compress.", metavar="GOAL")
    ],
    budget: Annotated[
        str, typer.Option(help="Wall time of the command: 90s, 10m, 1h30m.", metavar="TIME")
    ] = "10m",
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder, with a folder for each run.",
            metavar="RUNS",
            show_default="runs/choose-DATA-GOAL",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Candidates trained at once, with one thread each.")] = 2,
    ray: Annotated[
        str | None,
        typer.Option(
            help="HOST:PORT of a Ray cluster whose machines share the folder; local.", metavar="ADDRESS"
        ),
    ] = None,
    latent: Annotated[
        int | None, typer.Option(help="For reconstruct: dimensions of all codes.", show_default="at most 16")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    progress: shared.ShowProgress = True,
    json: shared.Json = False,
    *,
    data_options: dict[str, Any],
) -> None:
    """Choose a method, its size and preprocessing by a tournament within a budget of time.

    Many candidates are trained briefly, the best third longer, and so on; random search at equal cost and simple
    baselines take part. The best are trained again with other seeds, scored on fresh rows, and compared on one page.
    The same command continues an interrupted tournament.
    """
    from narrows.cli import BEGAN
    from narrows.tournament import choose as chosen

    how: dict[str, Any] = {
        "workers": workers,
        "ray": ray,
        "latent": latent,
        "seed": seed,
        "progress": progress,
        "began": BEGAN,
    }
    try:
        with only_json(json):
            found = chosen(data, goal, budget, out, data_options=data_options, **how)
    except KeyboardInterrupt:
        raise Interrupted("Interrupted. Run the same command to continue.") from None
    _print(found, json)


def _print(found: Chosen, json: bool) -> None:
    if json:
        print_json(_form(found))
    else:
        print(printable(text_table(_rows(found))))
        print(printable(found.says))
    note(f"Page: {found.page}. Runs: {found.folder / 'runs'}")


def _rows(found: Chosen) -> list[dict[str, Any]]:
    from narrows.tournament.page import told_score

    return [
        {
            "name": entry.name,
            "part": entry.role,
            "score": told_score(entry, found.verdict),
            "training": f"{entry.cost:.3g} s",
            "": "chosen" if entry is found.verdict.winner else "",
        }
        for entry in found.entries
    ]


def _form(found: Chosen) -> dict[str, Any]:
    """The outcome as JSON."""
    return {
        "chosen": found.verdict.winner.name,
        "best": found.verdict.best.name,
        "not_told_apart": list(found.verdict.level),
        "run": str(found.run.path),
        "page": str(found.page),
        "says": found.says,
        "scores": [
            {
                "name": entry.name,
                "method": entry.says,
                "part": entry.role,
                "value": entry.value,
                "spread": found.verdict.spread(entry),
                "seeds": list(entry.seeds),
                "training_seconds": entry.cost,
                "steps": entry.steps,
                **entry.details,
            }
            for entry in found.entries
        ],
    }
