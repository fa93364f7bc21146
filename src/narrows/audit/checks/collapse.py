"""Collapse in one word. Every family has the disease: capacity of the bottleneck that goes unused.

A posterior has passive units, a codebook has entries that nothing chooses, a dictionary has dead latents, a plain
code has directions in which nothing moves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from narrows.audit.evidence.view import View
from narrows.audit.metrics.usage import PASSIVE, perplexity, regimes, unit_variance
from narrows.audit.report.finding import Check, Finding, Verdict
from narrows.kernels.metrics import dead, density

__all__ = ["collapse"]


class Use(NamedTuple):
    """How much of a capacity is used, and what would help."""

    used: float
    total: int
    what: str
    partial: float
    """Below this share it is a partial collapse."""
    remedy: str


def collapse(view: View) -> Finding:
    """``none``, ``partial`` or ``total``, with the evidence and the remedy."""
    if view.rows < 2:
        return Finding()
    use = next((found for kind in _KINDS if (found := kind(view)) is not None), None)
    if use is None:
        return Finding()
    share = use.used / use.total
    evidence = f"{use.used:.4g} of {use.total} {use.what}."
    word, verdict, advice = _judge(share, use)
    silent = _silent_levels(view)
    if silent and word == "none":
        word, verdict = "partial", "warn"
        advice = "Warm the rate up slowly, or use free bits, so that the upper levels are learned."
    if silent:
        evidence += f" Silent levels: {', '.join(silent)}."
    return Finding(
        (
            Check("collapse", word, "", verdict, " ".join(filter(None, (evidence, advice)))),
            Check("capacity-used", share, "", "info", "The share of the code's capacity that is used."),
        )
    )


def _judge(share: float, use: Use) -> tuple[str, Verdict, str]:
    if share < 0.02 or use.used < 1 or (use.total > 2 and use.used < 1.5 and use.what.startswith("entries")):
        return "total", "bad", use.remedy
    if share < use.partial:
        return "partial", "warn", use.remedy
    return "none", "ok", ""


def _codebook(view: View) -> Use | None:
    if view.indices is None:
        return None
    remedy = "Restart dead entries more eagerly, use an EMA codebook or fewer codes, or a fixed grid (the method fsq)."
    effective = perplexity(view.indices, view.codes)
    # A place can show one entry only: fewer places than entries cannot use them all.
    total = min(view.codes, view.indices.numel())
    return Use(effective, total, "entries of the codebook are in effective use", 0.25, remedy)


def _sparse(view: View) -> Use | None:
    if view.sparse is None:
        return None
    total = len(density(view.sparse))
    alive = float(total - dead(view.sparse))
    remedy = (
        "Dead latents: raise the auxiliary loss, count them dead sooner, warm the penalty up, or take fewer."
    )
    return Use(alive, total, "latents ever fire", 0.5, remedy)


def _posterior(view: View) -> Use | None:
    if view.posterior is None:
        return None
    remedy = (
        "Posterior collapse: lower or warm up beta (for example 'linear:0:1:2000'), give free bits, weaken the "
        "decoder; or take fewer latents, if the rate is what you want it to be."
    )
    # In a hierarchy a mean can move with the level above and still say nothing: it must differ from its prior.
    active = (unit_variance(view.posterior.mean) > 0.01) & (regimes(view.posterior.ratio) != PASSIVE)
    return Use(float(active.sum()), len(active), "latents carry information", 0.5, remedy)


def _plain(view: View) -> Use | None:
    if view.dense is None:
        return None
    variance = unit_variance(view.dense)
    moving = float((variance > 1e-4 * variance.max().clamp_min(1e-12)).sum())
    remedy = "Most of the code never moves: take a narrower code, or regularise less."
    return Use(moving, len(variance), "coordinates of the code move with the data", 0.5, remedy)


_KINDS: tuple[Callable[[View], Use | None], ...] = (_codebook, _sparse, _posterior, _plain)


def _silent_levels(view: View) -> list[str]:
    """The levels of a hierarchy that carry less than a hundredth of a nat."""
    levels = {name: cost for name, cost in view.costs.items() if name.startswith("kl/")}
    return [name for name, cost in levels.items() if float(torch.mean(cost.double())) < 0.01]
