"""Use of the codebook: entries used, perplexity, and the distribution over entries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import fmean

import torch
from torch import Tensor

from narrows.audit.checks.collapse import CODEBOOK_REMEDIES
from narrows.audit.evidence.reseeds import spread
from narrows.audit.evidence.view import View
from narrows.audit.metrics.usage import code_counts, perplexity
from narrows.audit.report.finding import Chart, Check, Finding, Series

__all__ = ["codebook_usage"]

_BARS = 128
_POOR = 0.1
"""The share of the entries below which a depth is said to use few."""


def codebook_usage(view: View) -> Finding:
    """Entries used and perplexity, for codes of indices."""
    indices = view.indices
    if indices is None:
        return Finding()
    counts = code_counts(indices, view.codes)
    tokens = int(counts.sum())

    def used(some: Tensor) -> float:
        return float((code_counts(some, view.codes) > 0).sum())

    says = {
        "used": f"Entries used at least once at {tokens:,} positions.",
        "unused": "Entries never used there.",
        "perplexity": "Effective number of entries: exp of the entropy of their use.",
    }
    figures: dict[str, Callable[[Tensor], float]] = {
        "used": used,
        "unused": lambda some: view.codes - used(some),
        "perplexity": lambda some: perplexity(some, view.codes),
    }
    checks = tuple(
        Check(
            f"codebook/{name}",
            figure(indices),
            f"of {view.codes}",
            "info",
            says[name],
            spread=spread(partial(_of_rows, figure, indices), len(indices), view.seed),
            n=tokens,
            no_chance="random codes use all entries",
        )
        for name, figure in figures.items()
    )
    charts = [_chart(counts.double() / tokens)]
    if indices.ndim == 3 and indices.shape[-1] > 1:
        checks += _by_depth(view, indices)
        charts.append(_curves(view, indices))
    return Finding((*checks, *_by_position(view, indices)), tuple(charts))


def _by_position(view: View, indices: Tensor) -> tuple[Check, ...]:
    """The mean perplexity of one position's entries, beside that of entries which are exchanged between positions."""
    places = indices.flatten(1)
    if places.shape[1] < 2 or len(places) < 2:
        return ()

    def figure(some: Tensor) -> float:
        return fmean(perplexity(column, view.codes) for column in some.unbind(1))

    mixed = places.flatten()[torch.randperm(places.numel())].view(places.shape)
    check = Check(
        "codebook/position-perplexity",
        figure(places),
        f"of {view.codes}",
        "info",
        "Effective number of entries of one position, mean over positions; chance: entries exchanged between them. "
        "Far below chance, each position has entries of its own.",
        chance=figure(mixed),
        spread=spread(partial(_of_rows, figure, places), len(places), view.seed),
        n=places.numel(),
    )
    return (check,)


def _by_depth(view: View, indices: Tensor) -> tuple[Check, ...]:
    """Perplexity of each depth of stacks of entries (N, L, D)."""
    found = []
    for depth, level in enumerate(indices.unbind(-1)):
        value = perplexity(level, view.codes)
        poor = value < _POOR * min(view.codes, level.numel())
        says = f"Effective number of entries that code {depth + 1} of a token uses."
        if poor:
            says += (
                " Few: use fewer codes for a token, a codebook for each depth, or restarts of dead entries."
            )
        check = Check(
            f"codebook/depth-{depth + 1}/perplexity",
            value,
            f"of {view.codes}",
            "warn" if poor else "ok",
            says,
            spread=spread(partial(_of_rows, _perplexity_of(view.codes), level), len(level), view.seed),
            n=level.numel(),
            no_chance="random codes use all entries",
            remedies=({"shared": False}, *CODEBOOK_REMEDIES) if poor else (),
        )
        found.append(check)
    return tuple(found)


def _perplexity_of(codes: int) -> Callable[[Tensor], float]:
    return lambda some: perplexity(some, codes)


def _curves(view: View, indices: Tensor) -> Chart:
    """The share of all positions of each entry, most used first, for each depth."""
    series = []
    for depth, level in enumerate(indices.unbind(-1)):
        share = code_counts(level, view.codes).double().sort(descending=True).values / level.numel()
        points = torch.linspace(0, len(share) - 1, min(_BARS, len(share))).round().long()
        x = tuple((points + 1).tolist())
        series.append(Series(f"code {depth + 1}", tuple(share[points].tolist()), x, depth % 6 + 1))
    return Chart(
        "codebook-depths",
        "Use of the codebook by depth",
        "Entries in order of use, for each code of a token.",
        "lines",
        tuple(series),
        x_label="codebook entries, most used first",
        y_label="share",
    )


def _of_rows(figure: Callable[[Tensor], float], indices: Tensor, rows: Tensor) -> float:
    return figure(indices[rows])


def _chart(share: Tensor) -> Chart:
    ordered = share.sort(descending=True).values
    group = -(-len(ordered) // _BARS)
    heights = [float(part.mean()) for part in ordered.split(group)]
    even = 1 / len(ordered)
    return Chart(
        "codebook",
        "Use of the codebook",
        f"Entries in order of use{f', {group} a bar' if group > 1 else ''}; uniform use is {even:.2g} each.",
        "bars",
        (Series("share of all positions", tuple(heights)),),
        x_label="codebook entries, most used first",
        y_label="share",
    )
