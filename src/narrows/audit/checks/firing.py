"""L0, dead and dense latents, and the firing density of sparse codes."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Check, Finding, distribution
from narrows.core import Sparse
from narrows.kernels.metrics import code_count, dense_above, density, l0

__all__ = ["firing"]


def firing(view: View) -> Finding:
    """L0, dead and dense latents, for sparse codes."""
    if view.sparse is None:
        return Finding()
    share = density(view.sparse)
    fires = share[share > 0]
    checks = _counts(view.sparse, share)
    if not len(fires):
        return Finding(checks)
    median = Check(
        "density/median",
        float(fires.median()),
        "",
        "info",
        "The median firing density of the latents that are not dead.",
    )
    chart = distribution(
        "density",
        "Firing density",
        "The share of codes in which each latent is on. A healthy dictionary has one mode; a second one at the right "
        "is dense latents, at the left nearly dead ones.",
        "latents",
        torch.log10(fires),
        "log10 of the share of codes in which it is on",
    )
    return Finding((*checks, median), (chart,))


def _counts(z: Tensor | Sparse, share: Tensor) -> tuple[Check, ...]:
    """How many latents are on in a code, never on, and on too often."""
    total, often = len(share), dense_above(share)
    dead, dense = int((share == 0).sum()), int((share > often).sum())
    unit, never = f"of {total}", f"Never on in {code_count(z):,} codes."
    return (
        Check(
            "l0",
            l0(z),
            "latents",
            "info",
            f"Mean number of latents that are on in a code, of {total}.",
        ),
        Check(
            "latents/dead",
            float(dead),
            unit,
            "warn" if dead > 0.25 * total else "ok",
            never,
        ),
        Check(
            "latents/dense",
            float(dense),
            unit,
            "warn" if dense > max(0.05 * total, 2) else "ok",
            f"On in more than {often:.0%} of the codes.",
        ),
    )
