"""Several runs side by side: which numbers are comparable, which are told apart, and which are better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, NamedTuple

from narrows.audit.metrics.spread import Estimate, apart
from narrows.audit.report.finding import Check
from narrows.audit.report.names import distinct_names
from narrows.audit.report.report import Report, shown, worst
from narrows.core.check import printable, refuse

__all__ = ["BETTER", "RULE", "Cell", "Column", "Comparison", "Measured", "Row", "compared"]

BETTER: Mapping[str, Literal["lower", "higher"]] = {
    "fvu": "lower",
    "accuracy": "higher",
    "error/median": "lower",
    "error/p99": "lower",
    "bound": "lower",
    "nll": "lower",
    "bits-per-dimension": "lower",
    "latents/dead": "lower",
    "atoms/duplicate": "lower",
    "latents/correlated": "lower",
    "mig": "higher",
    "sap": "higher",
    "dci/disentanglement": "higher",
    "dci/completeness": "higher",
    "dci/informativeness": "higher",
    **dict.fromkeys(("factor-vae", "beta-vae", "irs", "modularity", "explicitness"), "higher"),
    **{f"infomec/{name}": "higher" for name in ("modularity", "explicitness", "compactness")},
    "cosine": "higher",
    "recovery/mcc": "higher",
    "recovery/mean-max-cosine": "higher",
    "recovery/f1": "higher",
    "splice/recovered": "higher",
    "splice/recovered-from-mean": "higher",
    "splice/ce": "lower",
    "splice/kl": "lower",
    **{f"probing/auc-{k}": "higher" for k in ("k1", "k2", "k5", "k20", "all")},
    "absorption/full": "lower",
    "absorption/fraction": "lower",
    "absorption/causal": "lower",
    "mdl/bits": "lower",
    "board/coverage": "higher",
    "board/reconstruction": "higher",
    "compute/parameters": "lower",
    **{
        f"compute/{of}-{what}": "lower"
        for of in ("reconstruct", "sample")
        for what in ("flops", "seconds", "joules")
    },
    "quality/mse": "lower",
    "quality/frechet": "lower",
    "prior/bits": "lower",
    **dict.fromkeys((f"generation/{name}" for name in ("frechet", "kid")), "lower"),
    **dict.fromkeys((f"series/{name}" for name in ("discriminative", "predictive")), "lower"),
    **dict.fromkeys(
        (f"series/{name}" for name in ("autocorrelation", "spectrum", "correlation", "wasserstein")), "lower"
    ),
    **dict.fromkeys(
        (f"generation/{name}" for name in ("precision", "recall", "coverage", "agreement")), "higher"
    ),
}
"""Checks for which a direction is better for every user; a rate or an L0 is a choice."""

RULE = (
    "Two columns are not told apart where |a - b| <= 2 sqrt(s_a² + s_b²). The spread s is the larger of the training "
    "spread (standard deviation over runs that are equal but for the seed) and the evaluation spread (the same run, "
    "other tokens and splits)."
)

_LIKELIHOODS = ("bound", "nll", "bits-per-dimension")
_NO_SPREAD = "no spread"


class Measured(NamedTuple):
    """One run: its recipe, with its folder as ``run``, its metrics and its audit."""

    recipe: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    report: Report


class Column(NamedTuple):
    """Runs that are equal but for the seed; pictures and curves are those of the first."""

    name: str
    runs: Sequence[Measured]

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe of the first run."""
        return self.runs[0].recipe

    @property
    def report(self) -> Report:
        """The audit of the first run."""
        return self.runs[0].report

    @property
    def title(self) -> str:
        """The name, with the number of runs if there are several."""
        return self.name if len(self.runs) == 1 else f"{self.name} ({len(self.runs)} runs)"


class Cell(NamedTuple):
    """One number of one column.

    Args:
        text: the number, the mean over the runs, or the word.
        unit: its unit.
        verdict: the worst of the runs.
        best: whether it is marked as better.
        estimate: the numbers of the runs; None for words, and where nothing was measured.
        chance: the mean over the runs of the figure of a control without information.
        n: number of examples of each run that it rests on.
        says: why nothing was measured.
        no_spread: why one run has no evaluation spread.
    """

    text: str
    unit: str
    verdict: str
    best: bool
    estimate: Estimate | None
    chance: float | None
    n: int | None
    says: str = ""
    no_spread: str = ""

    @property
    def deviation(self) -> str:
        """The training spread as text, if there are several runs, or the evaluation spread."""
        if self.estimate is None or self.estimate.spread is None:
            return ""
        return f"± {_short(self.estimate.spread)}"


class Row(NamedTuple):
    """One check over all columns.

    Args:
        name: of the check.
        better: ``lower``, ``higher`` or empty.
        cells: a cell or None for each column.
        alike: the pairs of columns, by number from 0, that are not told apart.
        unknown: the columns without a spread.
        told: in words, what is told apart.
    """

    name: str
    better: str
    cells: Sequence[Cell | None]
    alike: Sequence[tuple[int, int]]
    unknown: Sequence[int]
    told: str


class Comparison(NamedTuple):
    """The result of a comparison.

    Args:
        columns: groups of runs.
        rows: checks.
        warnings: what is not comparable, or not known.
        mixed: whether data, examples or likelihoods differ.
        same_data: whether data and examples are the same.
    """

    columns: Sequence[Column]
    rows: Sequence[Row]
    warnings: Sequence[str]
    mixed: bool = False
    same_data: bool = True

    def to_json(self) -> dict[str, Any]:
        """Columns, rows, warnings and the rule as plain data."""
        return {
            "rule": RULE,
            "columns": [
                {
                    "name": column.name,
                    "method": column.report.method,
                    "data": column.report.data,
                    "runs": [run.recipe.get("run") for run in column.runs],
                    "seeds": [(run.recipe.get("training") or {}).get("seed") for run in column.runs],
                }
                for column in self.columns
            ],
            "checks": [_row_json(row) for row in self.rows],
            "warnings": list(self.warnings),
        }

    def show(self) -> None:
        """Print the comparison on stdout."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        console = Console()
        for warning in self.warnings:
            console.print(Text(printable(warning), "yellow"))
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("check", overflow="fold")
        for number, column in enumerate(self.columns, 1):
            head = column.title if len(self.columns) < 3 else f"{number}. {column.title}"
            table.add_column(Text(printable(head)), justify="right")
        table.add_column("difference")
        for row in self.rows:
            cells = [
                ""
                if cell is None
                else f"{cell.text} {cell.deviation} {cell.unit}".replace("  ", " ").strip()
                + (" *" if cell.best else "")
                for cell in row.cells
            ]
            table.add_row(*(Text(printable(text)) for text in (row.name, *cells, row.told)))
        console.print(table)
        console.print(Text(printable(f"* better. {RULE}"), "dim"))


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "better": row.better or None,
        "columns": [None if cell is None else _cell_json(cell) for cell in row.cells],
        "not_told_apart": [list(pair) for pair in row.alike],
        "no_spread": list(row.unknown),
        "difference": row.told,
    }


def _cell_json(cell: Cell) -> dict[str, Any]:
    held = cell.estimate
    return {
        "value": cell.text if held is None else held.mean,
        "unit": cell.unit,
        "training": None if held is None else held.training,
        "evaluation": None if held is None else held.evaluation,
        "runs": 0 if held is None else len(held.values),
        "values": [] if held is None else list(held.values),
        "chance": cell.chance,
        "n": cell.n,
        "verdict": cell.verdict,
        "best": cell.best,
    }


def compared(groups: Sequence[Sequence[Measured]]) -> Comparison:
    """Compare groups of runs.

    Args:
        groups: runs that are equal but for the seed, a list for each column.

    Raises:
        RequestError: there are none.
    """
    if not groups or not all(groups):
        raise refuse("runs", [], "at least one run to compare")
    columns = _columns(groups)
    reports = [run.report for column in columns for run in column.runs]
    same_data = len({(r.data, str(r.parameters.get("shape"))) for r in reports}) == 1
    rows = {tuple(str(r.parameters.get(k)) for k in ("examples", "seed", "sha256")) for r in reports}
    same_rows = len(rows) == 1
    same_likelihood = len({r.parameters.get("likelihood") for r in reports}) == 1
    warnings = []
    if not same_data:
        warnings.append("These runs used different data: no number is marked as better.")
    elif not same_rows:
        warnings.append("These audits used different examples: no number is marked as better.")
    elif not same_likelihood:
        warnings.append(
            "These runs have different likelihoods: their nats are not marked as better or worse."
        )
    single = [column.name for column in columns if len(column.runs) == 1]
    if single and len(columns) > 1:
        every = len(single) == len(columns)
        which = "All columns are" if every else f"{', '.join(single)} {'is' if len(single) == 1 else 'are'}"
        one = "one run, so its" if len(single) == 1 else "one run each, so their"
        warnings.append(
            f"{which} {one} training spread is unknown; a difference that is told apart is one of these models, not "
            "of their methods. Make groups with: narrows fit ... --seeds 3"
        )
    found = []
    for name in dict.fromkeys(check.name for report in reports for check in report.checks):
        if name.startswith("latent/"):
            continue
        comparable = same_data and same_rows and (same_likelihood or name not in _LIKELIHOODS)
        found.append(_row(name, columns, comparable))
    same = same_data and same_rows
    return Comparison(columns, found, warnings, not (same and same_likelihood), same)


def _row(name: str, columns: Sequence[Column], comparable: bool) -> Row:
    better: str = BETTER.get(name, "") if comparable else ""
    cells = [_cell([run.report.get(name) for run in column.runs]) for column in columns]
    numeric = [i for i, cell in enumerate(cells) if cell is not None and cell.estimate is not None]
    units = {cell.unit for cell in cells if cell is not None}
    if not comparable or len(numeric) < 2 or len(units) > 1:
        why = (
            "not ranked: other units, judges or numbers of examples" if comparable and len(units) > 1 else ""
        )
        return Row(name, better, cells, (), (), why)
    held = {i: cell.estimate for i in numeric if (cell := cells[i]) is not None and cell.estimate is not None}
    told = {pair: apart(held[pair[0]], held[pair[1]]) for pair in combinations(numeric, 2)}
    alike = [pair for pair, answer in told.items() if answer is False]
    unknown = [i for i in numeric if held[i].spread is None]
    marked = _leaders(held, told, better)
    cells = [None if cell is None else cell._replace(best=i in marked) for i, cell in enumerate(cells)]
    why = next((cell.no_spread for i in unknown if (cell := cells[i]) is not None and cell.no_spread), "")
    return Row(name, better, cells, alike, unknown, _told(numeric, alike, unknown, columns, why))


def _leaders(
    held: Mapping[int, Estimate], told: Mapping[tuple[int, int], bool | None], better: str
) -> set[int]:
    """The best column and those not told apart from it; none if that is all, or if a spread is unknown."""
    if not better or any(answer is None for answer in told.values()):
        return set()
    sign = 1 if better == "lower" else -1
    first = min(held, key=lambda i: sign * held[i].mean)
    near = {first} | {
        a if b == first else b for (a, b), answer in told.items() if first in (a, b) and not answer
    }
    return near if len(near) < len(held) else set()


def _told(
    numeric: Sequence[int],
    alike: Sequence[tuple[int, int]],
    unknown: Sequence[int],
    columns: Sequence[Column],
    why: str,
) -> str:
    """What is told apart, in words."""
    if len(unknown) == len(numeric):
        if why:
            return f"{_NO_SPREAD}: {why}"
        single = all(len(columns[i].runs) == 1 for i in unknown)
        return f"{_NO_SPREAD}: one run each" if single else _NO_SPREAD
    without = f"{_NO_SPREAD} of {', '.join(str(i + 1) for i in unknown)}"
    parts = [f"{without}: {why}" if why else without] if unknown else []
    known = len(numeric) - len(unknown)
    pairs = known * (known - 1) // 2
    if alike:
        every = len(alike) == pairs and not unknown
        listed = ", ".join(f"{a + 1} and {b + 1}" for a, b in alike)
        parts.append("not told apart" if every else f"not told apart: {listed}")
    elif pairs:
        parts.append("told apart")
    return "; ".join(parts)


def _cell(checks: Sequence[Check | None]) -> Cell | None:
    """The cell of one check in the runs of a column."""
    found = [check for check in checks if check is not None]
    if not found:
        return None
    values = [float(c.value) for c in found if isinstance(c.value, (int, float))]
    verdict = worst(c.verdict for c in found)
    chances = [c.chance for c in found if c.chance is not None]
    chance = sum(chances) / len(chances) if chances else None
    unit = found[0].unit
    if not values:
        words = dict.fromkeys(shown(c.value) for c in found)
        return Cell(", ".join(words), unit, verdict, False, None, chance, found[0].n, found[0].says)
    estimate = Estimate(tuple(values), tuple(c.spread for c in found if c.spread is not None))
    return Cell(
        shown(estimate.mean), unit, verdict, False, estimate, chance, found[0].n, "", found[0].no_spread
    )


def _columns(groups: Sequence[Sequence[Measured]]) -> list[Column]:
    """The groups with distinct names: the method, then what differs in the recipes, the data or a number."""
    names = distinct_names(
        [(run.report.method or "model", run.recipe, run.report.data) for run, *_ in groups]
    )
    return [Column(name, group) for name, group in zip(names, groups, strict=True)]


def _short(number: float) -> str:
    return f"{number:.2g}" if abs(number) < 100 else shown(number)
