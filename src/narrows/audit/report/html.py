"""Reports as self-contained HTML pages, without network access or external scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from narrows.audit.report.compared import RULE, Column, Comparison
from narrows.audit.report.curves import over_runs, training_charts
from narrows.audit.report.finding import NOT_MEASURED, Chart, Check, Figure, Gallery, Series
from narrows.audit.report.galleries import shared_galleries
from narrows.audit.report.pareto import pareto_charts
from narrows.audit.report.pictures import Strip, render
from narrows.audit.report.report import MARKS, Report, beside, lacking, shown, with_spread
from narrows.audit.report.svg import draw
from narrows.core.check import optional

__all__ = ["compare_page", "drawn", "page", "page_of", "run_page"]


class Card(NamedTuple):
    """A headline number of the report."""

    label: str
    value: str
    unit: str
    verdict: str


class Drawn(NamedTuple):
    """A drawn figure."""

    name: str
    title: str
    says: str
    svg: str
    strips: list[Strip]
    beside: bool
    legend: list[tuple[str, int]]


_CARDS = (
    ("collapse", "Collapse"),
    ("fvu", "Variance explained"),
    ("accuracy", "Accuracy"),
    ("bound", "Negative ELBO"),
    ("nll", "−log p(x)"),
    ("rate", "Rate"),
    ("active-units", "Active units"),
    ("codebook/perplexity", "Perplexity"),
    ("l0", "L0"),
    ("latents/dead", "Dead latents"),
    ("recovery/mcc", "True atoms found (MCC)"),
    ("splice/recovered", "Loss recovered"),
    ("mig", "MIG"),
)
_MOST_CARDS = 8
_SHORT = 24
"""Labels of at most this many characters are beside their strip, longer ones above it."""

_FACTORS = ("mig", "dci/", "sap", "factor-vae", "beta-vae", "irs", "modularity", "explicitness", "infomec/")
_GROUPS = (
    ("Capacity", ("collapse", "capacity", "active-units", "latents/", "codebook/", "l0", "density/")),
    ("Fidelity", ("fvu", "cosine", "error/", "accuracy", "resolution/", "decoder/")),
    ("Rate and likelihood", ("distortion", "rate", "bound", "bits-per-", "nll", "cost/")),
    ("Redundancy and disentanglement", ("correlation", "atoms/", "layers/", "quasi-", *_FACTORS)),
    ("The true dictionary", ("recovery/",)),
    ("In the language model", ("splice/",)),
    ("Codes and prior", ("prior/", "probe/prior", "probe/codes")),
    ("Quantisation", ("quantisation/", "tokens/")),
    ("Single latents", ("latent/",)),
)
_FOLDED = ("Single latents",)


def page(report: Report) -> str:
    """One self-contained page of a report."""
    return run_page(report, {}, [])


def run_page(
    report: Report,
    recipe: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    links: Sequence[tuple[str, str]] = (),
) -> str:
    """The page of one run.

    Args:
        report: its audit.
        recipe: the recipe of the run; may be empty.
        metrics: the records of ``metrics.jsonl``; may be empty.
        links: further pages, an address and a few words each.

    Raises:
        WorkError: Jinja2 or Pillow is not installed.
    """
    figures = [drawn(figure) for figure in report.figures]
    return page_of(
        "run.html",
        title=_title(report),
        report=report,
        verdict=_VERDICTS[report.verdict],
        summary=_summary(report),
        cards=_cards(report),
        curves=[drawn(chart) for chart in training_charts(metrics)],
        charts=[figure for figure in figures if figure.svg],
        galleries=[figure for figure in figures if figure.strips],
        groups=_grouped(report.checks),
        folded=_FOLDED,
        settings=_settings(recipe),
        seconds=_seconds(report),
        seconds_total=f"{sum(report.seconds.values()):.1f}",
        links=links,
    )


def compare_page(comparison: Comparison, chosen: str = "") -> str:
    """The page that sets several runs side by side, those that are equal but for the seed in one column.

    Args:
        comparison: the runs and what is told apart.
        chosen: which run was chosen, and by which figure, in a sentence.

    Raises:
        WorkError: Jinja2 or Pillow is not installed.
    """
    held = comparison.columns
    named = [(column.name, column.runs[0].metrics) for column in held]
    curves = [chart for term in ("distortion", "kl", "loss") if (chart := over_runs(named, term)) is not None]
    runs = sum(len(column.runs) for column in held)
    return page_of(
        "compare.html",
        title=f"{runs} runs compared" if runs > 1 else "One run",
        columns=held,
        rows=comparison.rows,
        warnings=comparison.warnings,
        chosen=chosen,
        rule=RULE,
        cards={column.name: _cards(column.report)[:4] for column in held},
        curves=[drawn(chart) for chart in curves],
        plane=[] if comparison.mixed else [drawn(chart) for chart in _plane(held)],
        pareto=[drawn(chart) for chart in pareto_charts(held)] if comparison.same_data else [],
        galleries=[drawn(gallery) for gallery in shared_galleries(held)],
        own=[(column, _own_charts(column)) for column in held],
        settings={column.name: _settings(column.recipe) for column in held},
    )


_VERDICTS = {
    "ok": ("ok", "Healthy"),
    "info": ("ok", "Nothing of concern"),
    "warn": ("warn", "Look closer"),
    "bad": ("bad", "Something is wrong"),
}


def page_of(template: str, **values: Any) -> str:
    """A page from a template of `templates/` and its values.

    Raises:
        WorkError: Jinja2 is not installed.
    """
    jinja = optional("jinja2", "report", "write the report")
    environment = jinja.Environment(
        loader=jinja.PackageLoader("narrows.audit", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja.StrictUndefined,
    )
    environment.filters.update(shown=shown, with_spread=with_spread, beside=beside, lacking=lacking)
    environment.globals.update(
        marks=MARKS, words={"ok": "ok", "warn": "warning", "bad": "bad", "info": "info"}
    )
    page: str = environment.get_template(template).render(**values)
    return page


def _title(report: Report) -> str:
    return " on ".join(part for part in (report.method or "A model", report.data) if part)


def _summary(report: Report) -> str:
    """One sentence that summarises the audit."""
    wrong = report.concerns
    if wrong:
        rest = f" {len(wrong)} of {len(report.checks)} checks ask for attention." if len(wrong) > 1 else ""
        return rest.strip() or "One check asks for attention."
    good = sum(check.verdict == "ok" for check in report.checks)
    return f"Nothing asks for attention: {good} checks passed, on {report.parameters.get('examples', 'the')} examples."


def _cards(report: Report) -> list[Card]:
    cards = []
    for name, label in _CARDS:
        check = report.get(name)
        if check is None:
            continue
        value, unit = shown(check.value), check.unit
        if name == "fvu" and isinstance(check.value, float):
            value, unit = f"{100 * (1 - check.value):.1f}", "%"
        cards.append(Card(label, value, unit, check.verdict))
    return cards[:_MOST_CARDS]


def _grouped(checks: Sequence[Check]) -> list[tuple[str, list[Check]]]:
    """All checks, grouped under headings."""
    groups: dict[str, list[Check]] = {name: [] for name, _ in _GROUPS}
    lacking = []
    for check in checks:
        if check.value is None and check.says.startswith(NOT_MEASURED):
            lacking.append(check)
        else:
            groups.setdefault(_group(check.name), []).append(check)
    groups["Other"] = groups.pop("Other", [])  # after the groups of evaluations
    groups["Not measured"] = lacking
    return [(name, held) for name, held in groups.items() if held]


def _group(name: str) -> str:
    for title, starts in _GROUPS:
        if any(name == start or name.startswith(start) for start in starts):
            return title
    group, slash, _ = name.partition("/")
    return (group.upper() if len(group) < 4 else group.replace("-", " ").capitalize()) if slash else "Other"


def _seconds(report: Report) -> list[tuple[str, str]]:
    """The parts of the audit that took longest, with their seconds."""
    slowest = sorted(report.seconds.items(), key=lambda pair: -pair[1])
    return [(name.replace("_", " "), f"{took:.1f} s") for name, took in slowest if took >= 0.05]


def drawn(figure: Figure) -> Drawn:
    """A chart as SVG, or a gallery as strips."""
    if isinstance(figure, Gallery):
        strips = render(figure)
        labels = [len(strip.label) for strip in strips]
        beside = (
            any(labels) and max(labels) <= _SHORT and not any("<figure" in strip.html for strip in strips)
        )
        return Drawn(figure.name, figure.title, figure.says, "", strips, beside, [])
    legend = (
        list(dict.fromkeys((s.name, s.tone) for s in figure.series))
        if len(figure.series) > 1 and figure.kind != "matrix"
        else []
    )
    return Drawn(figure.name, figure.title, figure.says, draw(figure), [], False, legend)


def _settings(recipe: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The simple values of the recipe as pairs of name and value."""
    settings: list[tuple[str, str]] = []
    for group in ("arguments", "training", "data", "versions"):
        held = recipe.get(group) or {}
        for name, value in held.items() if isinstance(held, Mapping) else ():
            if (
                value is not None
                and isinstance(value, (str, int, float, bool, tuple, list))
                and len(str(value)) < 60
            ):
                settings.append((name if group == "arguments" else f"{group}: {name}", str(value)))
    return settings


def _plane(held: Sequence[Column]) -> list[Chart]:
    """Rate and distortion of each column, the mean over its runs; joined in order if they differ in one number."""
    points: dict[int, tuple[float, float]] = {}
    for number, column in enumerate(held):
        checks = [(run.report.get("rate"), run.report.get("distortion")) for run in column.runs]
        known = [
            (rate.value, lost.value)
            for rate, lost in checks
            if rate is not None and lost is not None
            if isinstance(rate.value, float) and isinstance(lost.value, float)
        ]
        if known:
            x, y = (sum(values) / len(known) for values in zip(*known, strict=True))
            points[number] = (x, y)
    if len(points) < 2:
        return []
    varied = _varied([held[number] for number in points])
    title, says, series = "Rate and distortion", "Lower is better for both.", []
    if varied is not None:
        name, values = varied
        path = [
            point for _, point in sorted(zip(values, points.values(), strict=True), key=lambda pair: pair[0])
        ]
        x, y = zip(*path, strict=True)
        series.append(Series(f"over {name}", y, x, 0, "line"))
        title = f"Rate and distortion over {name}"
        says += f" The line joins the runs from {name} = {min(values):g} to {max(values):g}."
    series += [Series(held[number].name, (y,), (x,), number % 6 + 1) for number, (x, y) in points.items()]
    return [Chart("plane", title, says, "points", tuple(series), x_label="rate, nats", y_label="distortion")]


def _varied(held: Sequence[Column]) -> tuple[str, list[float]] | None:
    """The one argument in which columns differ, if it is a number with other values in each: its name and values."""
    settings = [
        {"method": column.recipe.get("method"), **(column.recipe.get("arguments") or {})} for column in held
    ]
    names = {
        name for one in settings for name in one if any(one[name] != other.get(name) for other in settings)
    }
    if len(names) != 1:
        return None
    (name,) = names
    values = [one.get(name) for one in settings]
    numbers = [float(v) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    return (name, numbers) if len(set(numbers)) == len(held) else None


def _own_charts(column: Column) -> list[Drawn]:
    names = ("kl", "codebook", "density", "error")
    return [drawn(figure) for figure in column.report.figures if figure.name in names]
