"""Use of the codebook: entries used, perplexity, and the distribution over entries."""

from __future__ import annotations

from torch import Tensor

from narrows.audit.evidence.view import View
from narrows.audit.metrics.usage import code_counts, perplexity
from narrows.audit.report.finding import Chart, Check, Finding, Series

__all__ = ["codebook_usage"]

_BARS = 128


def codebook_usage(view: View) -> Finding:
    """Entries used and perplexity, for codes of indices."""
    if view.indices is None:
        return Finding()
    counts = code_counts(view.indices, view.codes)
    tokens, used = int(counts.sum()), int((counts > 0).sum())
    effective = perplexity(view.indices, view.codes)
    unit = f"of {view.codes}"
    checks = (
        Check(
            "codebook/used", float(used), unit, "info", f"Entries used at least once at {tokens:,} positions."
        ),
        Check("codebook/unused", float(view.codes - used), unit, "info", "Entries never used there."),
        Check(
            "codebook/perplexity",
            effective,
            unit,
            "info",
            "Effective number of entries: exp of the entropy of their use.",
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
        f"Entries in order of use{f', {group} a bar' if group > 1 else ''}; uniform use is {even:.2g} each.",
        "bars",
        (Series("share of all positions", tuple(heights)),),
        x_label="codebook entries, most used first",
        y_label="share",
    )
