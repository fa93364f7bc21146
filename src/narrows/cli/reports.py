"""`audit`, `features`, `compare`, `prove` and `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from narrows.cli import shared
from narrows.cli.errors import note
from narrows.cli.exchange import ForeignOptions, audit_folder, opened
from narrows.cli.output import destination, only_json, print_json
from narrows.core.check import refuse

if TYPE_CHECKING:
    from narrows.audit import Report
    from narrows.data import Dataset
    from narrows.runs.run import Run

__all__ = ["audit", "compare", "demo", "features", "prove"]

_JSON = Annotated[bool, typer.Option("--json", help="Print a JSON document on stdout.")]
_OTHER = Annotated[
    str | None, typer.Option(help="Data, instead of the test split of the run.", metavar="DATA")
]


def audit(
    run: shared.Run,
    data: _OTHER = None,
    out: Annotated[
        Path | None, typer.Option(help="Output folder; by default the run folder.", metavar="FOLDER")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    limit: Annotated[
        int | None,
        typer.Option(
            help="Largest number of examples; by default 2,048, and 200,000 to count the latents of a sparse code.",
            metavar="N",
        ),
    ] = None,
    evaluations: Annotated[
        str | None,
        typer.Option(
            "--with", help="Also measure these evaluations, or all of them.", metavar="NAME[:OPTIONS],...|all"
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Time of the evaluations, such as 5m or 90s; the cheapest come first.", metavar="TIME"
        ),
    ] = None,
    features: Annotated[bool, typer.Option(help="For a sparse code, also write features.html.")] = True,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print the audit as a JSON document; write no files without --out."),
    ] = False,
    *,
    foreign: ForeignOptions,
    data_options: dict[str, Any],
) -> None:
    """Check a run: audit.json, report.html, features.html.

    With --data the files are audit-NAME.json and so on. A dictionary of another library is audited on activations:
    --model MODEL --place resid.3, or a harvest as --data. Its folder is only read: the files are in runs/NAME-audit.
    """
    from narrows.runs.reports import name_of
    from narrows.train import Progress

    with only_json(json), opened(run, data, data_options, foreign) as (audited, examples):
        out = out or (None if json else audit_folder(run))
        name = name_of(data or foreign.model)
        with Progress() as progress:  # `opened` has compared the data: force
            write = not json or out is not None
            asked = {"limit": limit, "evaluations": evaluations, "budget": budget}
            how: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
            how |= {"write": write, "out": out, "features": features, "seed": seed}
            report = audited.audit(examples, name=name, force=True, progress=progress, **how)
    print_json(report.document()) if json else report.show()
    if write:
        _wrote(out or run, name, features, report, audited)


def _wrote(folder: Path, name: str, features: bool, report: Report, audited: Run) -> None:
    """Say which files were written, and how a remedy can be tried if one is known."""
    from narrows.runs.reports import file_name
    from narrows.runs.rescue import proposed
    from narrows.train.stopping import last_step

    latents = features and report.get("l0") is not None
    names = ["audit.json", "report.html", *(["features.html"] if latents else [])]
    files = [folder / file_name(one, name) for one in names]
    note(f"Wrote {' and '.join(str(file) for file in files if file.exists())}: open the page in a browser.")
    run = audited.path
    if name or not (run / "result.json").is_file():
        return
    if proposed(report, audited.recipe, last_step(audited.metrics)) is not None:
        note(f"To try a remedy in a second run: narrows fit {run} --rescue --out {run}-rescued")


def features(
    run: shared.Run,
    data: _OTHER = None,
    out: Annotated[
        Path | None, typer.Option(help="Output file; by default features.html in the run folder.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    count: Annotated[int, typer.Option(help="Number of latents to show.")] = 300,
    examples: Annotated[
        int | None,
        typer.Option(
            help="Largest number of examples; by default 200,000, and 50,000 to choose from.", metavar="N"
        ),
    ] = None,
    latents: Annotated[
        str | None,
        typer.Option(help="Indices of the latents to show, separated by commas.", metavar="N,N..."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    json: _JSON = False,
    *,
    how: shared.ReadingOptions,
    data_options: dict[str, Any],
) -> None:
    """Show single latents of a sparse code: features.html.

    The page has examples, firing densities and nearest neighbours of each latent.
    """
    chosen = _numbers("--latents", latents)
    page = None if out is None else destination(out, force, (".html",))
    from narrows.core.progress import Progress
    from narrows.runs.features import PAGE, write_features

    with only_json(json):
        opened = how.load(run)
        dataset = _other(opened, data, data_options)
        page = run / PAGE if page is None else page
        wanted: dict[str, Any] = {"count": count, "examples": examples, "latents": chosen, "seed": seed}
        with Progress() as progress:
            found = write_features(opened, dataset, out=page, progress=progress, **wanted)
    if found is None:
        raise refuse(
            "RUN", str(run), "a run whose code is sparse", f"`{opened.method}` has no sparse latents."
        )
    if json:
        print_json(found.to_json())
        return
    note(f"Wrote {page}: open the page in a browser.")


def _other(opened: Run, data: str | None, data_options: dict[str, Any]) -> Dataset | None:
    """The data of --data, if given."""
    from narrows.data import like

    if data is not None:
        return like(opened.recipe.data, data, **data_options)
    if data_options:
        raise refuse("--data", None, "given if there are data options")
    return None


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders, or folders of groups and sweeps.", metavar="RUN RUN...")
    ],
    out: Annotated[Path, typer.Option(help="Output file.")] = Path("compare.html"),
    evaluations: Annotated[
        str | None,
        typer.Option(
            "--with", help="Also measure these evaluations, or all of them.", metavar="NAME[:OPTIONS],...|all"
        ),
    ] = None,
    cost: Annotated[
        bool,
        typer.Option(
            "--cost",
            help="Also measure parameters, operations, CPU seconds and joules beside error and Frechet distance.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the comparison as a JSON document; write no page.")
    ] = False,
) -> None:
    """Compare runs; those that differ in the seed share a column.

    Prints and writes a table of all checks, which says what is not told apart.
    """
    page = None if json else destination(out, force, (".html",))
    from narrows.audit.report.html import compare_page
    from narrows.core import files
    from narrows.runs.compare import comparison
    from narrows.train import Progress

    with only_json(json), Progress() as progress:
        found = comparison(runs, progress=progress, evaluations=evaluations or (), cost=cost)
    if page is None:
        print_json(found.to_json())
        return
    files.write(page, compare_page(found).encode())
    found.show()
    note(f"Wrote {page}: open it in a browser.")


def prove(
    names: Annotated[list[str] | None, typer.Argument(help="Names of methods.", metavar="NAME...")] = None,
    every: Annotated[bool, typer.Option("--all", help="All methods with a proof.")] = False,
    family: Annotated[
        list[str] | None, typer.Option(help="All methods of a family; may be given several times.")
    ] = None,
    scale: Annotated[
        str, typer.Option(help="Size of the experiment: quick (seconds), default (minutes) or full (hours).")
    ] = "default",
    seeds: Annotated[
        str | None, typer.Option(help="Number of seeds, such as 3, or the seeds, such as 0,1,5.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Data, instead of those of the proof.", metavar="DATA")
    ] = None,
    device: Annotated[str, typer.Option(help="Device: cpu, cuda or auto.")] = "cpu",
    out: Annotated[Path | None, typer.Option(help="Output file, or a folder for several methods.")] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 1 if a claim fails that is not recorded as failing."),
    ] = False,
    json: _JSON = False,
    *,
    data_options: dict[str, Any],
) -> int:
    """Test a paper's claim on data, with several seeds."""
    from narrows.proofs.run import run

    return run(
        names or (),
        every=every,
        families=family or (),
        as_json=json,
        strict=strict,
        out=out,
        scale=scale,
        seeds=shared.seeds(seeds),
        data=data,
        data_options=data_options or None,
        device=device,
    )


def demo(
    out: Annotated[
        Path, typer.Option(help="Output folder; the content of an earlier demo is replaced.")
    ] = Path("demo"),
) -> None:
    """Fit three methods on real data and compare them on one page."""
    from narrows.demo import demo as run_demo

    run_demo(out)


def _numbers(option: str, text: str | None) -> tuple[int, ...]:
    """Integers separated by commas.

    Example:
        >>> _numbers("--latents", "3,17")
        (3, 17)
    """
    try:
        return tuple(int(part) for part in (text or "").split(",") if part.strip())
    except ValueError:
        raise refuse(option, text, "integers separated by commas, such as 3,17") from None
