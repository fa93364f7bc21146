"""Training curves from the metrics of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from narrows.audit.report.finding import Chart, Series
from narrows.kernels.metrics import EDGES

__all__ = ["over_runs", "training_charts"]

Metrics = Sequence[Mapping[str, Any]]
_MOST = 12
_WIDE_RANGE = 50.0
_EVALUATIONS = 14
_COLOURED = 6
_TITLES = {
    "loss": "Loss",
    "distortion": "Distortion",
    "kl": "Rate (KL)",
    "fvu": "Variance unexplained (FVU)",
    "l0": "L0",
    "dead": "Dead latents, share",
    "splice/recovered": "Loss recovered",
    "splice/kl": "KL of the spliced language model, nats",
    "splice/ce": "Increase of the cross-entropy by splicing, nats",
    "dense": "Dense latents, share",
    "cosine": "Cosine with the reconstruction",
    "coherence": "Largest cosine of two atoms",
    "silent": "Latents never on in the held-out examples, share",
}
"""Terms and metrics in the order of the report."""
_HELD_OUT = tuple(_TITLES)[3:]
"""Metrics of held-out data; a cost of the same name (a weighted L0) is another quantity."""
_PLAYERS = {"held_out": "not trained on", "autoencoder": "trained on"}


def training_charts(metrics: Metrics) -> list[Chart]:
    """The loss of each stage, its terms, and the path in the plane of rate and distortion."""
    charts: list[Chart] = []
    for stage in dict.fromkeys(str(record.get("stage", "autoencoder")) for record in metrics):
        records = [record for record in metrics if str(record.get("stage", "autoencoder")) == stage]
        for term in _terms(records)[:_MOST]:
            series = _both(records, term)
            if all(len(one.y) < 2 for one in series):
                continue  # one measurement is no curve
            title = f"{_plain(term)}, {stage}" if stage != "autoencoder" else _plain(term)
            says = (
                "On the training data, and on data not trained on."
                if len(series) > 1
                else f"On data {_PLAYERS['held_out']}."
                if series[0].name == _PLAYERS["held_out"]
                else "On the training data."
            )
            charts.append(_lines(f"curve/{stage}/{term}", title, says, series))
    return [*charts, *_rates(metrics), *_path(metrics), *_densities(metrics)]


def over_runs(runs: Sequence[tuple[str, Metrics]], term: str) -> Chart | None:
    """One term of several runs in one chart, on held-out data if it was measured there."""
    series = []
    for tone, (name, metrics) in enumerate(runs, start=1):
        records = [record for record in metrics if record.get("stage", "autoencoder") == "autoencoder"]
        found = _one(records, f"held_out/{term}", name, tone) or _one(
            records, f"autoencoder/{term}", name, tone
        )
        series.extend(found)
    if len(series) < 2 or all(len(one.y) < 2 for one in series):
        return None
    return _lines(
        f"curve/{term}",
        _plain(term),
        "On held-out data if measured, else on the training data.",
        tuple(series),
    )


def _plain(term: str) -> str:
    kind, _, of = term.partition("/")
    what = {"kl": "Rate (KL)", "distortion": "Distortion"}.get(kind, kind)
    if of == "subsets":
        return f"{what} of random subsets"
    if of.startswith("alone/"):
        return f"{what} of {of.removeprefix('alone/')} alone"
    if kind == "kl" and of:
        return f"Rate of level {term[3:]} (KL)"
    return _TITLES.get(term, f"Term: {term.replace('_', ' ')}")


def _terms(records: Metrics) -> list[str]:
    """The terms of a stage's losses, the loss first, the distortion next."""
    names = dict.fromkeys(
        key.split("/", 1)[1]
        for record in records
        for key, value in record.items()
        if "/" in key and isinstance(value, (int, float))
    )
    order = list(_TITLES)
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def _both(records: Metrics, term: str) -> tuple[Series, ...]:
    known = [f"held_out/{term}"] if term in _HELD_OUT else [key for record in records for key in record]
    keys = dict.fromkeys(key for key in known if "/" in key and key.split("/", 1)[1] == term)
    series: list[Series] = []
    for key in sorted(keys, key=lambda key: key.startswith("held_out/")):
        player = key.split("/", 1)[0]
        series += _one(records, key, _PLAYERS.get(player, player), len(series) + 1)
    return tuple(series)


def _one(records: Metrics, key: str, name: str, tone: int) -> list[Series]:
    found = [(float(r.get("at", i)), _value(r, key)) for i, r in enumerate(records)]
    points = [(at, value) for at, value in found if value is not None]
    if not points or not any(value for _, value in points):
        return []  # a term that is always 0 is not drawn
    x, y = zip(*points, strict=True)
    return [Series(name, y, x, (tone - 1) % 6 + 1)]


def _value(record: Mapping[str, Any], key: str) -> float | None:
    """A term of a record; the rate of a hierarchy is the sum over its levels."""
    if key.endswith("/kl") and key not in record:
        parts = [value for name, value in record.items() if name.startswith(f"{key}/")]
    else:
        parts = [record.get(key)]
    return float(sum(parts)) if parts and all(_number(part) for part in parts) else None


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _lines(name: str, title: str, says: str, series: tuple[Series, ...]) -> Chart:
    values = [y for s in series for y in s.y]
    log = min(values) > 0 and max(values) > _WIDE_RANGE * min(values)
    return Chart(
        name, title, says, "lines", series, x_label="step", y_label="log scale" if log else "", log=log
    )


def _rates(metrics: Metrics) -> list[Chart]:
    """The rate of each latent at each evaluation on held-out data; those with the largest at the end in colour."""
    recorded = [(float(r.get("at", i)), r.get("held_out/rates", ())) for i, r in enumerate(metrics)]
    width = next((len(rates) for _, rates in recorded if len(rates)), 0)
    evaluations = [(at, rates) for at, rates in recorded if width and len(rates) == width]
    if len(evaluations) < 2:
        return []
    steps = tuple(at for at, _ in evaluations)
    order = sorted(range(width), key=lambda latent: -evaluations[-1][1][latent])
    series = []
    for rank, latent in enumerate(order):
        coloured = rank < _COLOURED
        name, tone = (f"latent {latent}", rank + 1) if coloured else ("others", 0)
        series.append(Series(name, tuple(rates[latent] for _, rates in evaluations), steps, tone))
    says = "KL to the prior on data not trained on. Latents that stay at zero carry no information."
    drawn = (*series[_COLOURED:], *series[:_COLOURED])  # the coloured ones on top
    return [Chart("rates", "Rate of each latent", says, "lines", drawn, x_label="step", y_label="nats")]


def _path(metrics: Metrics) -> list[Chart]:
    """Rate and distortion at each evaluation on held-out data."""
    points = []
    for record in metrics:
        rate, distortion = _value(record, "held_out/kl"), _value(record, "held_out/distortion")
        if rate is not None and distortion is not None:
            points.append((rate, distortion))
    if len(points) < 2:
        return []
    x, y = zip(*points, strict=True)
    series = (Series("path", y, x, 0), Series("the end", y[-1:], x[-1:], 2))
    says = (
        "Rate and distortion on held-out data during training; the dot is the end. Lower is better for both."
    )
    return [
        Chart(
            "path", "Rate and distortion", says, "lines", series, x_label="rate, nats", y_label="distortion"
        )
    ]


def _densities(metrics: Metrics) -> list[Chart]:
    """The histogram of firing densities during training: a column for each evaluation, a row for each bin."""
    recorded = ((int(r.get("step", i)), r.get("held_out/density", ())) for i, r in enumerate(metrics))
    evaluations = [(step, counts) for step, counts in recorded if len(counts) == len(EDGES)]
    if len(evaluations) < 2:
        return []
    chosen = (
        [evaluations[round(i * (len(evaluations) - 1) / (_EVALUATIONS - 1))] for i in range(_EVALUATIONS)]
        if len(evaluations) > _EVALUATIONS
        else evaluations
    )
    most = max(max(counts) for _, counts in chosen) or 1.0
    rows = tuple(
        Series(f"10^{edge:g}" if b else "rarer", tuple(counts[b] / most for _, counts in chosen))
        for b, edge in reversed(list(enumerate((EDGES[0], *EDGES[:-1]))))
    )
    says = "The number of latents by firing density during training. A row's label is its lower edge."
    return [
        Chart(
            "density-over-training",
            "Firing densities during training",
            says,
            "matrix",
            rows,
            columns=tuple(f"{step:,}" for step, _ in chosen),
        )
    ]
