"""How the codebook is used: entries, perplexity, and how unevenly."""

from __future__ import annotations

from torch import Tensor

from narrows.audit.evidence.view import View
from narrows.audit.metrics.usage import code_counts, perplexity
from narrows.audit.report.finding import Chart, Check, Finding, Series

__all__ = ["codebook_usage"]

_BARS = 128


def codebook_usage(view: View) -> Finding:
    """Entries used and perplexity, where the code holds indices."""
    if view.indices is None:
        return Finding()
    counts = code_counts(view.indices, view.codes)
    tokens, used = int(counts.sum()), int((counts > 0).sum())
    effective = perplexity(view.indices, view.codes)
    unit = f"of {view.codes}"
    checks = (
        Check(
            "codebook/used", float(used), unit, "info", f"Entries chosen at least once in {tokens:,} places."
        ),
        Check("codebook/unused", float(view.codes - used), unit, "info", "Entries never chosen in those."),
        Check(
            "codebook/perplexity",
            effective,
            unit,
            "info",
            "In how many entries' worth of even use the code lives.",
        ),
    )
    return Finding(checks, (_chart(counts.double() / tokens),))


def _chart(share: Tensor) -> Chart:
    ordered = share.sort(descending=True).values
    group = -(-len(ordered) // _BARS)
    heights = [float(part.mean()) for part in ordered.split(group)]
    even = 1 / len(ordered)
    return Chart(
        "codebook",
        "Use of the codebook",
        f"Entries in order of use{f', {group} a bar' if group > 1 else ''}; even use would be {even:.2g} each.",
        "bars",
        (Series("share of all places", tuple(heights)),),
        x_label="codebook entries, the most used first",
        y_label="share",
    )
