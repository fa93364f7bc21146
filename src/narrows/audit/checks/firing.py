"""L0, dead and dense latents, and the firing density of sparse codes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from narrows.audit.evidence.reseeds import redrawn, reseed
from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Check, Finding, distribution
from narrows.kernels.metrics import dense_above

__all__ = ["firing"]


_SAME, _SILENT = "the random dictionary has this L0", "how often random latents are on says nothing of these"


def firing(view: View) -> Finding:
    """L0, dead and dense latents, for sparse codes."""
    share = view.density
    if share is None:
        return Finding()
    fires = share[share > 0]
    over = _spreads(view)
    checks = _counts(view, share, over)
    if not len(fires):
        return Finding(checks)
    median = Check(
        "density/median",
        float(fires.median()),
        "",
        "info",
        "The median firing density of the latents that are not dead.",
        spread=over.get("density/median"),
        n=view.counted,
        no_chance=_SILENT,
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


def _spreads(view: View) -> dict[str, float]:
    """The spread of each figure over redraws of stretches of the data, since neighbouring tokens are alike."""
    found = view.stretches
    if found is None or len(found[1]) < 2:
        return {}
    fires, codes = found

    def again(seed: int) -> dict[str, float]:
        rows = redrawn(len(codes), seed)
        share = fires[rows].sum(0).double() / codes[rows].sum()
        on = share[share > 0]
        return {
            "l0": _l0(fires[rows], codes[rows]),
            "latents/dead": float((share == 0).sum()),
            "latents/dense": float((share > dense_above(share)).sum()),
            "density/median": float(on.median()) if len(on) else 0.0,
        }

    return {name: figure.spread for name, figure in reseed(again, view.seed).items()}


def _l0(fires: Tensor, codes: Tensor) -> float:
    """The mean number of latents that are on in a code, from whole numbers: exact where all codes have as many."""
    return int(fires.sum()) / max(1, int(codes.sum()))


def _counts(view: View, share: Tensor, over: Mapping[str, float]) -> tuple[Check, ...]:
    """How many latents are on in a code, never on, and on too often."""
    total, often, codes = len(share), dense_above(share), view.counted
    assert view.stretches is not None
    dead, dense = int((share == 0).sum()), int((share > often).sum())
    unit, never = f"of {total}", f"Never on in {codes:,} codes."
    return (
        Check(
            "l0",
            _l0(*view.stretches),
            "latents",
            "info",
            f"Mean number of latents that are on in a code, of {total}.",
            spread=over.get("l0"),
            n=codes,
            no_chance=_SAME,
        ),
        Check(
            "latents/dead",
            float(dead),
            unit,
            "warn" if dead > 0.25 * total else "ok",
            never,
            spread=over.get("latents/dead"),
            n=codes,
            no_chance=_SILENT,
        ),
        Check(
            "latents/dense",
            float(dense),
            unit,
            "warn" if dense > max(0.05 * total, 2) else "ok",
            f"On in more than {often:.0%} of the codes.",
            spread=over.get("latents/dense"),
            n=codes,
            no_chance=_SILENT,
        ),
    )
