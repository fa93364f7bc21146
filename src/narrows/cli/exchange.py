"""`convert`: dictionaries of other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from narrows.cli import shared
from narrows.cli.errors import note
from narrows.cli.output import only_json, print_json

__all__ = ["convert"]


def convert(
    path: Annotated[
        Path,
        typer.Argument(help="A run folder, or a folder or file of another library.", metavar="IN"),
    ],
    out: Annotated[Path, typer.Argument(help="The new folder.", metavar="OUT")],
    to: Annotated[
        str,
        typer.Option(
            help="Format: narrows, saelens, sparsify, dictionary_learning, circuit-tracer ...: see docs/exchange.",
            metavar="FORMAT",
        ),
    ],
    fold: Annotated[
        bool,
        typer.Option("--fold", help="Fold factors, norms of atoms and the subtracted bias into the weights."),
    ] = False,
    jumprelu: Annotated[
        str | None,
        typer.Option(
            help="Write a TopK as a JumpReLU: its threshold has the same L0 on these activations.",
            metavar="DATA",
        ),
    ] = None,
    reading: shared.Reading = "",
    allow_pickle: shared.AllowPickle = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write even if codes or reconstructions change.")
    ] = False,
    json: shared.Json = False,
) -> None:
    """Write a run, or a dictionary of another library, in another format.

    What the format cannot hold is listed before anything is written. If codes or reconstructions would change,
    nothing is written without --force. Existing folders are not overwritten. A folder of several dictionaries, such
    as a set of transcoders, is converted as a whole.
    """
    from narrows.exchange.convert import convert as convert_file

    with only_json(json):
        done = convert_file(
            path,
            out,
            to,
            fold=fold,
            reading=reading,
            jumprelu=jumprelu,
            allow_pickle=allow_pickle,
            force=force,
            say=note,
        )
    if json:
        losses = {"results": list(done.losses.results), "facts": list(done.losses.facts)}
        print_json({"wrote": str(out), "from": done.source, "to": done.target, "lost": losses})
    what = done.description.title if done.count == 1 else f"{done.count} dictionaries"
    note(f"Wrote {out}: {what}, from {done.source} to {done.target}.")
