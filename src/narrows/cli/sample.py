"""`sample`: new examples from the method's prior, or from priors that are fitted to the codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from narrows.cli import codes, shared
from narrows.cli.fields import needs_grid
from narrows.cli.output import destination, only_json, write_npz, write_png
from narrows.cli.texts import is_text, text_destination, write_texts
from narrows.core.check import refuse

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["sample"]

_NUMBER = 64
"""Number of examples by default."""
_COLUMNS = 16
"""Columns of a picture of several priors."""
_SHOWN, _BESIDE = 32, 4
"""Mixtures in a picture, and in a row of it."""

_PANEL = "Separation of mixtures"


_PRIOR = Annotated[
    str | None,
    typer.Option(
        help="Draw from this prior instead of the run's own: it is fitted to the codes of the training data, and "
        "stored in RUN/priors. Several, separated by commas, are drawn side by side; none is the method's own.",
        metavar="NAME[:OPTIONS]",
    ),
]


@dataclass(frozen=True)
class _Separating:
    separate: Annotated[
        str | None,
        typer.Option(
            help="Data whose examples are each the mean of two: draw the two, instead of new examples.",
            metavar="DATA",
            rich_help_panel=_PANEL,
        ),
    ] = None
    pairs: Annotated[
        int,
        typer.Option(
            help="Pairs of training examples, in whose mean codes are counted.", rich_help_panel=_PANEL
        ),
    ] = 20_000
    candidates: Annotated[
        int,
        typer.Option(
            help="Pairs of sources, of which the one is kept whose mean is nearest to the mixture.",
            rich_help_panel=_PANEL,
        ),
    ] = 8
    search: Annotated[str, typer.Option(help="ancestral draws, or beam search.", rich_help_panel=_PANEL)] = (
        "ancestral"
    )


def sample(
    run: shared.Run,
    out: codes.OPTIONAL_FILE = None,
    n: Annotated[int, typer.Option("-n", "--n", help="Number of examples.")] = _NUMBER,
    prior: _PRIOR = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    label: Annotated[
        int | None,
        typer.Option(help="Class of the examples; by default all in turn, or as often as in training."),
    ] = None,
    draw: Annotated[
        bool, typer.Option("--draw", help="Draw from p(x | z) instead of taking its mean.")
    ] = False,
    resolution: codes.RESOLUTION = None,
    force: shared.Force = False,
    json: shared.Json = False,
    *,
    separating: _Separating,
    sampling: dict[str, Any],
) -> None:
    """Draw new examples.

    `narrows sample RUN --help` also shows the options of the run's prior, or of that of --prior, if it is a learned
    one. With --separate, the two sources of mixtures are drawn: the run's prior is `autoregressive`, and an .npz file
    has the sources (N, 2, ...) as x.
    """
    opened = codes.load_run(run)
    drawing = {
        "n": None if n == _NUMBER else n,
        "label": label,
        "draw": draw or None,
        "resolution": resolution,
    }
    _check_separating(separating, {**drawing, **sampling})
    if separating.separate is not None:
        sources = destination(codes.needed(out), force, codes.EXAMPLES)
        _write_sources(opened, prior, separating, seed, sources, json)
        return
    texts = is_text(opened)
    path = text_destination(out, force) if texts else _place(opened, out, prior, force)
    resolution = 1.0 if resolution is None and needs_grid(opened) else resolution
    how: dict[str, Any] = {"seed": seed, "label": label, "draw": draw, "resolution": resolution}
    runs = {"": opened} if prior is None else _with_priors(opened, prior)
    if len(runs) > 1 and path is not None and not texts:
        _write_several(path, runs, n, how, sampling, json)
        return
    if len(runs) > 1:
        raise refuse("prior", prior, "one prior", "Texts are drawn from one prior at a time.")
    (chosen,) = runs.values()
    with only_json(json), codes.show_progress() as progress:
        x = chosen.sample(n, progress=progress, **how, **sampling)
    if texts:
        write_texts(opened, x, path, json)
    elif path is not None:
        codes.write_examples(path, opened, x, json)


def _place(run: Run, out: Path | None, prior: str | None, force: bool) -> Path:
    """Where to write samples; those of series, from one prior, may be a table."""
    tables = (".csv", ".parquet") if run.recipe.spec.kind == "series" and prior is None else ()
    return destination(codes.needed(out), force, (*codes.suffixes(run), *tables))


def _check_separating(how: _Separating, drawing: Mapping[str, Any]) -> None:
    """Raise for options of new examples with --separate, and for those of --separate without it.

    Args:
        how: the options of --separate.
        drawing: the options of new examples, None where they are not given.

    Raises:
        RequestError: there is such an option.
    """
    default = vars(_Separating())
    own = {name: None if value == default[name] else value for name, value in vars(how).items()}
    word, others = ("without", own) if how.separate is None else ("with", drawing)
    for name, value in others.items():
        if value is not None:
            raise refuse(name, value, f"left out {word} --separate")


def _write_sources(run: Run, prior: str | None, how: _Separating, seed: int, path: Path, json: bool) -> None:
    """Write the sources of mixtures; a picture has each mixture and its two sources."""
    import numpy as np

    from narrows.data import like

    if prior is not None:
        from narrows.runs.priors import prior_run

        run = prior_run(run, prior)
    mixtures = like(run.recipe.data, how.separate)
    options = {name: value for name, value in vars(how).items() if name != "separate"}
    with only_json(json), codes.show_progress() as progress:
        found = run.separate(mixtures, seed=seed, progress=progress, **options)
    if path.suffix.lower() == ".npz":
        write_npz(path, {"x": found})
    else:
        mixed = np.asarray(run._units(mixtures.all().x))[:, None]
        rows = np.concatenate([mixed, found], 1)[:_SHOWN]
        write_png(path, codes.drawing(run, rows.reshape(-1, *rows.shape[2:]), 3 * _BESIDE))
    codes.print_result(json, path, rows=len(found), holds={"x": list(found.shape)})


def _with_priors(run: Run, text: str) -> dict[str, Run]:
    """The run with each prior of a text, which are fitted first."""
    from narrows.runs.priors import prior_run, split_priors

    return {one: prior_run(run, one) for one in split_priors(text)}


def _write_several(
    path: Path,
    runs: Mapping[str, Run],
    n: int,
    how: Mapping[str, Any],
    sampling: Mapping[str, Any],
    json: bool,
) -> None:
    """Write samples of several priors: arrays by name, or a picture with one block for each."""
    from narrows import priors

    drawn: dict[str, Any] = {}
    owned = {name: priors.sampling_options(type(run.model.drawn_from)) for name, run in runs.items()}
    with only_json(json), codes.show_progress() as progress:
        for name, run in runs.items():
            own = {
                key: value
                for key, value in sampling.items()
                if key in owned[name] or not any(key in options for options in owned.values())
            }
            drawn[name] = run.sample(n, progress=progress, **how, **own)
    first = next(iter(runs.values()))
    if any(isinstance(x, Mapping) for x in drawn.values()):
        fix = "Several modalities are drawn from one prior at a time."
        raise refuse("prior", ",".join(runs), "one prior", fix)
    if path.suffix.lower() == ".npz":
        write_npz(path, drawn)
    else:
        from narrows.cli.pictures import stacked

        write_png(path, stacked({name: codes.drawing(first, x, _COLUMNS) for name, x in drawn.items()}))
    codes.print_result(json, path, rows=n, holds={name: list(x.shape) for name, x in drawn.items()})
