"""Collapse: whether capacity of the bottleneck is unused.

A posterior can have passive units, a codebook unused entries, a dictionary dead latents, and a deterministic code
directions without variance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from narrows.audit.checks.closed_form import threshold
from narrows.audit.evidence.reseeds import spread
from narrows.audit.evidence.view import View
from narrows.audit.metrics.usage import PASSIVE, perplexity, regimes, unit_variance
from narrows.audit.report.finding import Check, Finding, Verdict

__all__ = ["CODEBOOK_REMEDIES", "POSTERIOR_REMEDIES", "collapse"]

CODEBOOK_REMEDIES: tuple[Mapping[str, Any], ...] = (
    {"codebook": "ema:restart=0.03,start=kmeans"},
    {"codebook": "clustered"},
    {"gradient": "rotation"},
)
"""Remedies of entries that are not used, the usual one first."""

POSTERIOR_REMEDIES: tuple[Mapping[str, Any], ...] = ({"beta": "linear:0:{now}:{half}"}, {"free_bits": 0.25})
"""Remedies of latents without information."""


class Use(NamedTuple):
    """The used part of the capacity, and a remedy."""

    used: float
    total: int
    what: str
    partial: float
    """A smaller share is a partial collapse."""
    remedy: str
    n: int
    """The number of codes."""
    parts: int
    again: Callable[[Tensor], float]
    """What is used in some of the parts of the data, from their numbers."""
    remedies: tuple[Mapping[str, Any], ...] = ()
    """As of `Check`."""


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
    says, full = " ".join(filter(None, (evidence, advice))), "a code without information may use all of it"
    return Finding(
        (
            Check(
                "collapse",
                word,
                "",
                verdict,
                says,
                n=use.n,
                no_chance=full,
                no_spread="a word; see capacity-used",
                remedies=() if verdict == "ok" else use.remedies,
            ),
            Check(
                "capacity-used",
                share,
                "",
                "info",
                "The used share of the code's capacity.",
                spread=spread(lambda rows: use.again(rows) / use.total, use.parts, view.seed),
                n=use.n,
                no_chance=full,
            ),
        )
    )


def _judge(share: float, use: Use) -> tuple[str, Verdict, str]:
    if share < 0.02 or use.used < 1 or (use.total > 2 and use.used < 1.5 and use.what.startswith("entries")):
        return "total", "bad", use.remedy
    if share < use.partial:
        return "partial", "warn", use.remedy
    return "none", "ok", ""


def _codebook(view: View) -> Use | None:
    indices = view.indices
    if indices is None:
        return None
    remedy = (
        "Restart dead entries earlier, use an EMA codebook or fewer codes, or a fixed grid (the method fsq)."
    )
    # Each position uses one entry: fewer positions than entries cannot use them all.
    total, what = min(view.codes, indices.numel()), "entries of the codebook are in effective use"

    def again(rows: Tensor) -> float:
        return perplexity(indices[rows], view.codes)

    used = perplexity(indices, view.codes)
    return Use(used, total, what, 0.25, remedy, len(indices), len(indices), again, CODEBOOK_REMEDIES)


def _sparse(view: View) -> Use | None:
    found = view.stretches
    if view.density is None or found is None:
        return None
    fires = found[0]
    total, alive = len(view.density), float((view.density > 0).sum())
    remedy = "Dead latents: raise the auxiliary loss, count latents as dead sooner, warm up the penalty, or use fewer."

    def again(rows: Tensor) -> float:
        return float((fires[rows].sum(0) > 0).sum())

    remedies = ({"dead": "auxk"}, {"dead": "resample"})
    return Use(alive, total, "latents ever fire", 0.5, remedy, view.counted, len(fires), again, remedies)


def _posterior(view: View) -> Use | None:
    posterior = view.posterior
    if posterior is None:
        return None
    remedy = (
        "Posterior collapse: warm up beta over half of the steps (of 4,000: 'linear:0:1:2000') or lower it, use free "
        "bits or a weaker decoder; if the rate is as intended, use fewer latents."
    )
    mean, ratio = posterior.mean, posterior.ratio

    def again(rows: Tensor) -> float:
        # In a hierarchy a mean may only follow the level above: an active unit must also differ from its prior.
        active = unit_variance(mean[rows]) > 0.01
        if ratio is not None:
            active &= regimes(ratio[rows]) != PASSIVE
        return float(active.sum())

    used, total = again(torch.arange(len(mean))), mean[0].numel()
    what, remedies, theory = "latents carry information", POSTERIOR_REMEDIES, threshold(view)
    if theory is not None and theory.active <= used < total and theory.critical > 0:
        remedy = (
            f"Posterior collapse by the loss: with beta {theory.beta:.3g} it has no use for more latents. Lower beta "
            f"below {theory.critical:.3g}; if the rate is as intended, use fewer latents."
        )
        remedies = ({"beta": float(f"{theory.critical / 2:.2g}")}, *POSTERIOR_REMEDIES[1:])
    return Use(used, total, what, 0.5, remedy, len(mean), len(mean), again, remedies)


def _plain(view: View) -> Use | None:
    dense = view.dense
    if dense is None:
        return None
    remedy = "Most of the code is constant: use a narrower code, or regularise less."

    def again(rows: Tensor) -> float:
        variance = unit_variance(dense[rows])
        return float((variance > 1e-4 * variance.max().clamp_min(1e-12)).sum())

    used, total, what = (
        again(torch.arange(len(dense))),
        dense[0].numel(),
        "coordinates of the code vary with the data",
    )
    return Use(used, total, what, 0.5, remedy, len(dense), len(dense), again)


_KINDS: tuple[Callable[[View], Use | None], ...] = (_codebook, _sparse, _posterior, _plain)


def _silent_levels(view: View) -> list[str]:
    """The levels of a hierarchy whose KL is less than 0.01 nats."""
    levels = {name: cost for name, cost in view.costs.items() if name.startswith("kl/")}
    return [name for name, cost in levels.items() if float(torch.mean(cost.double())) < 0.01]
