"""How long proofs will take, from the results in the current folder."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from narrows.proofs.engine import RESULTS, load

if TYPE_CHECKING:
    from narrows.proofs.engine import Proof

__all__ = ["announce", "seconds"]

_SIZES = ("batch_size", "width", "features", "latents", "components")
"""Entries of a budget that make each step longer; the others are counts of steps, rows or draws."""


def seconds(proof: Proof, scale: str, seeds: int | None = None) -> float | None:
    """Estimated seconds of one core; None if no result at default scale lies in ``proofs/results``.

    The result's seconds, times the largest ratio of the counts of the two budgets, times the ratios of their sizes.
    An estimate: a proof whose time is not in what grows most takes less.

    Args:
        proof: of a method, a technique or a prior.
        scale: ``quick``, ``default`` or ``full``.
        seeds: the number of seeds, if it is not the proof's own.
    """
    try:
        found = json.loads((RESULTS / f"{proof.method}.json").read_text(encoding="utf-8"))
        per_seed = float(found["environment"]["cpu_seconds"]) / len(found["seeds"])
        known, ran = found["budget"], len(found["seeds"])
        asked = proof.scales[scale]
        ratios = {key: asked[key] / known[key] for key in asked if known.get(key)}
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return None
    counts = [ratio for key, ratio in ratios.items() if key not in _SIZES]
    sizes = math.prod(ratio for key, ratio in ratios.items() if key in _SIZES)
    return per_seed * (seeds or ran) * max(counts, default=1.0) * sizes


def announce(names: Sequence[str], scale: str, seeds: int | None = None) -> None:
    """Print on stderr how long proofs will take, at full scale also each of them."""
    from rich.console import Console
    from rich.table import Table

    took = {name: seconds(load(name), scale, seeds) for name in names}
    known = {name: found for name, found in took.items() if found is not None}
    console = Console(stderr=True)
    if scale == "full" and known:
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        table.add_column("method", header_style="dim")
        table.add_column("hours", header_style="dim", justify="right")
        for name, found in known.items():
            table.add_row(name, f"{found / 3600:.1f}")
        console.print(table)
    total = sum(known.values())
    amount = f"{total / 3600:.1f} hours" if total >= 3600 else f"{total / 60:.1f} minutes"
    said = f"about {amount} of one core, estimated from {RESULTS}" if known else "no estimate of their time"
    missing = len(took) - len(known)
    left = f"; {missing} have no result there" if missing and known else ""
    console.print(f"[dim]{len(names)} proofs at {scale} scale: {said}{left}.[/dim]")
