"""Collapse: whether capacity of the bottleneck is unused.

A posterior can have passive units, a codebook unused entries, a dictionary dead latents, and a deterministic code
directions without variance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from narrows.audit.evidence.view import View
from narrows.audit.metrics.usage import PASSIVE, perplexity, regimes, unit_variance
from narrows.audit.report.finding import Check, Finding, Verdict

__all__ = ["collapse"]


class Use(NamedTuple):
    """The used part of the capacity, and a remedy."""

    used: float
    total: int
    what: str
    partial: float
    """A smaller share is a partial collapse."""
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
        advice = "Warm up the rate's weight slowly, or use free bits, so that the upper levels are learned."
    if silent:
        evidence += f" Silent levels: {', '.join(silent)}."
    return Finding(
        (
            Check("collapse", word, "", verdict, " ".join(filter(None, (evidence, advice)))),
            Check("capacity-used", share, "", "info", "The used share of the code's capacity."),
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
    remedy = (
        "Restart dead entries earlier, use an EMA codebook or fewer codes, or a fixed grid (the method fsq)."
    )
    effective = perplexity(view.indices, view.codes)
    # Each position uses one entry: fewer positions than entries cannot use them all.
    total = min(view.codes, view.indices.numel())
    return Use(effective, total, "entries of the codebook are in effective use", 0.25, remedy)


def _sparse(view: View) -> Use | None:
    if view.density is None:
        return None
    total, alive = len(view.density), float((view.density > 0).sum())
    remedy = "Dead latents: raise the auxiliary loss, count latents as dead sooner, warm up the penalty, or use fewer."
    return Use(alive, total, "latents ever fire", 0.5, remedy)


def _posterior(view: View) -> Use | None:
    if view.posterior is None:
        return None
    remedy = (
        "Posterior collapse: lower or warm up beta (for example 'linear:0:1:2000'), use free bits or a weaker "
        "decoder; if the rate is as intended, use fewer latents."
    )
    # In a hierarchy a mean may only follow the level above: an active unit must also differ from its prior.
    active = unit_variance(view.posterior.mean) > 0.01
    if view.posterior.ratio is not None:
        active &= regimes(view.posterior.ratio) != PASSIVE
    return Use(float(active.sum()), len(active), "latents carry information", 0.5, remedy)


def _plain(view: View) -> Use | None:
    if view.dense is None:
        return None
    variance = unit_variance(view.dense)
    moving = float((variance > 1e-4 * variance.max().clamp_min(1e-12)).sum())
    remedy = "Most of the code is constant: use a narrower code, or regularise less."
    return Use(moving, len(variance), "coordinates of the code vary with the data", 0.5, remedy)


_KINDS: tuple[Callable[[View], Use | None], ...] = (_codebook, _sparse, _posterior, _plain)


def _silent_levels(view: View) -> list[str]:
    """The levels of a hierarchy whose KL is less than 0.01 nats."""
    levels = {name: cost for name, cost in view.costs.items() if name.startswith("kl/")}
    return [name for name, cost in levels.items() if float(torch.mean(cost.double())) < 0.01]
