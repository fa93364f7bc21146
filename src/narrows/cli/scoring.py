"""`score`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from narrows.cli import shared
from narrows.cli.codes import open_like, open_run, print_result
from narrows.cli.errors import note
from narrows.cli.maps import MapOptions
from narrows.cli.output import destination, only_json, print_json, write_npz, write_table
from narrows.core.check import RequestError, refuse

if TYPE_CHECKING:
    from narrows.data import Dataset
    from narrows.runs.run import Run
    from narrows.runs.verbs.likelihood import Estimated

__all__ = ["EstimatorOptions", "score"]

_TABLES = (".csv", ".parquet", ".npz")
_SAMPLES = 16


_DATA = Annotated[
    str | None,
    typer.Argument(
        help="The data: a name or a path, as for `fit`; with --estimator by default the test split of the run.",
        metavar="DATA",
    ),
]
_FILE = Annotated[
    Path | None,
    typer.Option(help="Output file: .csv, .parquet or .npz; with --estimator it may be left out."),
]
_JSON = Annotated[bool, typer.Option("--json", help="Print the result as a JSON document on stdout.")]
_ESTIMATOR = Annotated[
    str | None,
    typer.Option(
        help="Estimate -log p(x) with its errors: by importance sampling from the posterior (iwae), or by annealed "
        "importance sampling from the prior (ais).",
        metavar="iwae|ais",
    ),
]
_SAMPLES_OPTION = Annotated[
    int | None,
    typer.Option(
        help="Number of codes drawn for each example, if there is a posterior.",
        show_default=f"{_SAMPLES}; 1000 for iwae",
    ),
]
_LIMIT = Annotated[
    int | None,
    typer.Option(
        help="Maximum number of examples.", metavar="N", show_default="all; 1000 for iwae, 100 for ais"
    ),
]
_TEMPERATURES = Annotated[
    int | None,
    typer.Option(help="For ais: number of distributions between prior and posterior.", show_default="500"),
]
_CHAINS = Annotated[
    int | None, typer.Option(help="For ais: number of chains of each example.", show_default="4")
]
_SIMULATED = Annotated[
    bool,
    typer.Option(
        "--simulated",
        help="For ais: score examples drawn from the model, whose likelihood is bounded from both sides.",
    ),
]


@dataclass(frozen=True)
class AnomalyOptions:
    """The options of anomaly scores."""

    kind: Annotated[
        str | None,
        typer.Option(
            help="The score: nll, -log p(x); distortion, -log p(x | z) or an error; rate, KL(q(z | x) || p(z)); "
            "typicality, the distance of the nll from its mean.",
            metavar="nll|distortion|rate|typicality",
            show_default="nll with a posterior, else distortion",
        ),
    ] = None
    alpha: Annotated[
        float | None,
        typer.Option(
            help="Flag rows with a conformal p-value of at most this: on average the largest share of normal rows that "
            "is flagged."
        ),
    ] = None
    fdr: Annotated[
        float | None,
        typer.Option(
            help="Instead of --alpha: the largest share of normal rows among the flagged ones, on average "
            "(Benjamini-Hochberg)."
        ),
    ] = None
    contamination: Annotated[
        float | None,
        typer.Option(
            help="Instead of --alpha: flag rows with a score above the 1 - c quantile of the calibration."
        ),
    ] = None
    explain: Annotated[
        str | None,
        typer.Option(
            help="Name the columns (of series the stretch) that make a row odd: fast, by their terms; exact, by "
            "-log p of each cell given the others, for methods that read missing cells.",
            metavar="fast|exact",
        ),
    ] = None
    calibration: Annotated[
        str | None,
        typer.Option(
            help="Data that the model was not fitted to, for --alpha, --fdr, --contamination and --kind typicality; by "
            "default the rows that `fit --calibration` kept, else the test split of the run.",
            metavar="DATA",
        ),
    ] = None

    @property
    def flags(self) -> bool:
        """Whether rows are flagged."""
        return any(level is not None for level in (self.alpha, self.fdr, self.contamination))

    def check_absent(self) -> None:
        """Check that no option is given, as another estimator is asked for.

        Raises:
            RequestError: there is one.
        """
        for name, value in vars(self).items():
            if value is not None:
                raise refuse(f"--{name}", value, "left out with --estimator")


@dataclass(frozen=True)
class EstimatorOptions:
    """The options of an estimator of -log p(x)."""

    estimator: _ESTIMATOR = None
    samples: _SAMPLES_OPTION = None
    temperatures: _TEMPERATURES = None
    chains: _CHAINS = None
    simulated: _SIMULATED = False
    limit: _LIMIT = None
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0

    def check_plain(self) -> None:
        """Check that no option of an estimator is given, as there is none.

        Raises:
            RequestError: there is one.
        """
        for name in ("temperatures", "chains", "simulated"):
            if value := getattr(self, name):
                raise refuse(f"--{name}", value, "left out", "It is an option of --estimator ais.")


def score(
    run: shared.Run,
    data: _DATA = None,
    out: _FILE = None,
    force: shared.Force = False,
    json: _JSON = False,
    *,
    odd: AnomalyOptions,
    maps: MapOptions,
    how: EstimatorOptions,
    reading: shared.ReadingOptions,
    data_options: dict[str, Any],
) -> None:
    """Compute a likelihood or an anomaly score for each example.

    Without --estimator the name of the column is the quantity: `nll_nats`, -log p(x) for a code with a posterior, else
    `distortion_nats`, -log p(x | z), or `squared_error`; another with --kind. With --alpha, --fdr or --contamination a
    column `flag` is 1 for anomalies, and `p_value` (and `q_value`) are conformal p-values: see the page on anomalies.

    With --estimator the columns are -log p(x) in nats, its standard error, the effective sample size and Pareto k, and
    the mean is printed. On two cores, 100 examples of MNIST take about a second by iwae and minutes by ais; less with
    fewer --temperatures, --chains or a smaller --limit.

    All are computed on scaled data. Of a group of runs (`fit --seeds`) scores are means over the runs.
    """
    path = None if out is None else destination(out, force, _TABLES)
    if how.estimator is None:
        how.check_plain()
        _anomalies(run, data, (path, maps.path(force)), (odd, maps, how), json, reading, data_options)
        return
    odd.check_absent()
    from narrows.core.progress import Progress

    opened, examples = _opened(run, data, how.limit, reading, data_options)
    with only_json(json), Progress() as progress:
        found = opened.likelihood(examples, progress=progress, **vars(how))
    if path is not None:
        _write(path, found)
    if json:
        print_json({**({} if path is None else {"wrote": str(path)}), **found.summary()})
    else:
        _show(found, len(opened.dataset(examples)), how.limit)


def _anomalies(
    run: Path,
    data: str | None,
    paths: tuple[Path | None, Path | None],
    options: tuple[AnomalyOptions, MapOptions, EstimatorOptions],
    json: bool,
    reading: shared.ReadingOptions,
    data_options: dict[str, Any],
) -> None:
    """Write one score for each example, and which are anomalies."""
    (path, map_path), (odd, maps, how) = paths, options
    if data is None or path is None:
        missing = "DATA: a name or a path" if data is None else "--out: give a file, such as --out scores.csv"
        raise RequestError(f"Missing {missing}. Only with --estimator it may be left out.")
    if odd.flags and (how.samples, how.seed) != (None, 0):
        raise refuse("--samples", how.samples, "left out, and --seed: they are those of the calibration")
    opened, examples = _run_or_group(run, data, _limited(data_options, how.limit), reading)
    from narrows.core.progress import Progress
    from narrows.runs.verbs.detect import Detected, explained

    with only_json(json), Progress(brief=True) as progress:
        if odd.flags:
            found = opened.detect(examples, **vars(odd), progress=progress)
        else:
            named: dict[str, Any] = {"kind": odd.kind, "samples": how.samples, "seed": how.seed}
            scores = opened.score(examples, calibration=odd.calibration, **named, progress=progress)
            found = Detected(opened.score_unit(examples, odd.kind), scores)
            if odd.explain is not None:
                found = explained(found, opened, examples, odd.explain, odd.calibration, progress)
        mapped = None if map_path is None else maps.scored(opened, examples, odd.calibration, progress)
    columns = found.columns()
    if path.suffix.lower() == ".npz":
        write_npz(path, columns)
    else:
        write_table(path, {"row": range(len(found)), **_places(examples), **columns})
    facts = {"rows": len(found), "holds": list(columns), "mean": float(found.scores.mean())}
    if found.flag is not None:
        facts |= {"flagged": int(found.flag.sum()), "calibration": {"rows": found.rows, "n": found.n}}
        note(found.says)
    if mapped is not None and map_path is not None:
        facts |= maps.write(map_path, mapped, examples)
    print_result(json, path, **facts)


def _places(examples: Dataset) -> dict[str, list[int]]:
    """Of windows of series, the series and its step at which each begins, counted from 0."""
    from torch import Tensor

    stores = [(name, examples.columns.get(name)) for name in ("series", "step")]
    found = {name: store.tolist() for name, store in stores if isinstance(store, Tensor) and store.dim() == 1}
    return found if len(found) == len(stores) else {}


def _run_or_group(
    run: Path, data: str, options: dict[str, Any], reading: shared.ReadingOptions
) -> tuple[Run, Dataset]:
    """A run, or the runs of a group as one scorer, and the data."""
    if not (run / "sweep.json").is_file():
        return open_run(run, data, options, reading)
    from narrows.runs.ensemble import load_group

    group = load_group(run)
    return group, open_like(group, data, options)


def _opened(
    run: Path, data: str | None, limit: int | None, reading: shared.ReadingOptions, options: dict[str, Any]
) -> tuple[Run, Dataset | None]:
    """The run, and the data if they are not its test split."""
    if data is not None:
        return open_run(run, data, _limited(options, limit), reading)
    if options:
        raise refuse("DATA", None, "given if there are data options")
    return reading.load(run), None


def _limited(options: dict[str, Any], limit: int | None) -> dict[str, Any]:
    return options if limit is None else {**options, "limit": limit}


def _write(path: Path, found: Estimated) -> None:
    columns = found.columns()
    if path.suffix.lower() == ".npz":
        write_npz(path, columns)
    else:
        write_table(path, {"row": range(len(found)), **columns})


def _show(found: Estimated, rows: int, limit: int | None) -> None:
    """Print the mean, and what it can be trusted for."""
    facts = found.summary()
    over = "" if facts["standard_error"] is None else f" ± {facts['standard_error']:.2g}"
    print(f"-log p(x)   {facts['nll_nats']:.2f}{over} nats (mean and standard error, examples: {len(found)})")
    if found.lower is not None:
        print(
            f"            {facts['nll_lower_nats']:.2f} by the reversed chain: a gap of {facts['gap']:.2g} nats"
        )
    print(f"estimate    ± {facts['estimate_error']:.2g} nats of it by the draws")
    print(f"effective   {facts['effective_samples']:.3g} of {found.samples} samples of an example")
    if "accepted" in facts:
        print(f"accepted    {facts['accepted']:.0%} of the proposals")
    if "pareto_k" in facts:
        says = f"{facts['unreliable']} of {len(found)} examples above the limit"
        print(f"Pareto k    {facts['pareto_k']:.2g} in the median, {says}")
    if limit is None and len(found) < rows:
        note(f"These are the first {len(found)} of {rows} examples; --limit {rows} scores all.")
