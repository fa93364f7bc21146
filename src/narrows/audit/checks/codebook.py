"""Use of the codebook: entries used, perplexity, and the distribution over entries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from narrows.audit.evidence.reseeds import spread
from narrows.audit.evidence.view import View
from narrows.audit.metrics.usage import code_counts, perplexity
from narrows.audit.report.finding import Chart, Check, Finding, Series

__all__ = ["codebook_usage"]

_BARS = 128


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
    return Finding(checks, (_chart(counts.double() / tokens),))


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
