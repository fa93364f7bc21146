"""`convert`, and the options of `audit` for dictionaries of other libraries."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from narrows.cli import shared
from narrows.cli.errors import note
from narrows.cli.output import only_json, print_json
from narrows.core.check import refuse

if TYPE_CHECKING:
    from narrows.data import Dataset
    from narrows.runs.run import Run

__all__ = ["ForeignOptions", "audit_folder", "convert", "opened"]

_ROWS = 1024
_PANEL = "Activations of a model"


@dataclass(frozen=True)
class ForeignOptions(shared.ReadingOptions):
    """Options of `audit` for a dictionary that has no data of its own."""

    model: Annotated[
        str | None,
        typer.Option(
            help="Audit on activations of this model, a folder or a name; --data is then its text.",
            metavar="MODEL",
            rich_help_panel=_PANEL,
        ),
    ] = None
    place: Annotated[
        str,
        typer.Option(
            help="Hook point, such as resid.3; that of the metadata by default.", rich_help_panel=_PANEL
        ),
    ] = ""
    target_place: Annotated[
        str, typer.Option(help="Hook point that a transcoder predicts.", rich_help_panel=_PANEL)
    ] = ""
    tokens: Annotated[int, typer.Option(help="Largest number of tokens.", rich_help_panel=_PANEL)] = 20_000
    force: Annotated[
        bool,
        typer.Option("--force", help="Accept a model or a hook point that differs from the metadata."),
    ] = False


@contextmanager
def opened(
    path: Path, data: str | None, data_options: dict[str, Any], how: ForeignOptions
) -> Iterator[tuple[Run, Dataset | None]]:
    """A run or a dictionary of another library, and the data to audit it on, which may be harvested for it.

    Raises:
        RequestError: options that do not go together, or data that do not fit the dictionary.
    """
    from narrows.data import like
    from narrows.exchange.auditing import harvested
    from narrows.exchange.loading import Foreign
    from narrows.runs.provenance import checked

    run = how.load(path)
    if how.model is None:
        for name, value in (("--place", how.place), ("--target-place", how.target_place)):
            if value:
                raise refuse(name, value, "left out without --model")
        if data is None and data_options:
            raise refuse("--data", None, "given if there are data options")
        examples = None if data is None else like(run.recipe.data, data, **data_options)
        checked(run.recipe, examples, how.force)
        _check(run, examples) if isinstance(run, Foreign) else None
        yield run, examples
        return
    with tempfile.TemporaryDirectory(prefix="narrows-") as folder:
        given: dict[str, Any] = {
            "target_place": how.target_place,
            "text": data or "bundled",
            "tokens": how.tokens,
        }
        given |= {"folder": Path(folder) / "activations", "force": how.force, "progress": True}
        examples = harvested(run, how.model, how.place, **given)
        _check(run, examples)
        yield run, examples


def audit_folder(path: Path) -> Path | None:
    """Where the audit of a dictionary of another library is written; None for a run, which holds its own."""
    return None if (path / "recipe.json").is_file() else Path("runs") / f"{path.resolve().stem}-audit"


def _check(run: Run, examples: Dataset | None) -> None:
    """Say whether a dictionary of another library does what its configuration promises."""
    from narrows.exchange.loading import Foreign

    if isinstance(run, Foreign) and examples is not None and len(examples):
        batch = examples.all(_ROWS)
        found = run.check(batch.x, None if batch.target is batch.x else batch.target)
        if found is not None:
            note(found.says)


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


def push(
    run: shared.Run,
    to: Annotated[
        str,
        typer.Option(
            help="A repository of the Hugging Face hub, or a new folder.", metavar="ORG/NAME|FOLDER"
        ),
    ],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    json: shared.Json = False,
) -> None:
    """Share a finished run: weights, recipe, audits and card.

    ORG/NAME is a repository of the hub; a folder below another is written ./FOLDER/NAME.
    """
    from narrows.exchange.hub import push as push_run

    with only_json(json):
        done = push_run(run, to, private=private, say=note)
    if json:
        print_json({"wrote": done})
    note(f"Wrote {done}.")


def pull(
    source: Annotated[
        str,
        typer.Argument(help="A repository of the Hugging Face hub, or a folder.", metavar="ORG/NAME|FOLDER"),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The new run folder; runs/NAME by default.", metavar="RUN")
    ] = None,
    revision: Annotated[str, typer.Option(help="A branch, tag or commit of the repository.")] = "",
    json: shared.Json = False,
) -> None:
    """Copy a shared run.

    Nothing of it is executed, and no pickle is opened.
    """
    from narrows.exchange.hub import pull as pull_run

    folder = out or Path("runs") / Path(source).name
    with only_json(json):
        done = pull_run(source, folder, revision=revision)
    if json:
        print_json({"wrote": str(done)})
    note(f"Wrote {done}. Check it: narrows audit {done}")
