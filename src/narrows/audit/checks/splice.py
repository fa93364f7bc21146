"""The loss of a language model with reconstructions in place of its activations: CE, KL, loss recovered."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from narrows.activations.splice import Costs
from narrows.audit.evidence.reseeds import redrawn, reseed
from narrows.audit.evidence.splicing import Splicer
from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Check, Finding, not_measured
from narrows.core.check import NarrowsError

__all__ = ["splice"]

_ENOUGH = 0.8

_FIGURES: Mapping[str, Callable[[Costs], float]] = {
    "recovered": lambda costs: costs.recovered,
    "recovered-from-mean": lambda costs: costs.recovered_from_mean,
    "ce": lambda costs: costs.average("spliced") - costs.average("original"),
    "kl": lambda costs: costs.average("kl"),
}


def splice(view: View) -> Finding:
    """Cross-entropy, KL and loss recovered, for harvests of a causal language model.

    Beside each figure is that of a random dictionary, and the spread over redraws of the contexts.
    """
    try:
        splicer = Splicer.of(view.dataset)
    except NarrowsError as error:
        return Finding((not_measured("splice/recovered", str(error)),))
    if splicer is None:
        return Finding()
    costs = splicer.contexts(view.model)
    control = None if view.control is None else splicer(view.control.model)
    says = {
        "recovered-from-mean": f"The same against mean ablation ({costs.average('mean'):.3f} nats).",
        "ce": "The increase of the next token's cross-entropy with reconstructions.",
        "kl": "KL of the original next-token distribution from that of the spliced model.",
    }
    low = math.isnan(costs.recovered) or costs.recovered < _ENOUGH
    spreads = _spreads(costs, view.seed)
    return Finding(
        tuple(
            Check(
                f"splice/{name}",
                figure(costs),
                "nats" if name in ("ce", "kl") else "",
                ("warn" if low else "ok") if name == "recovered" else "info",
                says.get(name) or _losses(costs, low),
                None if control is None else figure(control),
                spreads.get(name),
                int((costs.weight > 0).sum()),
            )
            for name, figure in _FIGURES.items()
        )
    )


def _spreads(costs: Costs, seed: int) -> dict[str, float]:
    """The spread of each figure over redraws of the contexts, whose tokens depend on each other."""
    count = len(costs.kl)
    if count < 2:
        return {}

    def one(seed: int) -> dict[str, float]:
        drawn = costs[redrawn(count, seed)]
        return {name: figure(drawn) for name, figure in _FIGURES.items()}

    return {name: figure.spread for name, figure in reseed(one, seed).items()}


def _losses(costs: Costs, low: bool) -> str:
    """The losses behind the share that is recovered."""
    fix = " Train longer, or use more latents or a larger L0." if low else ""
    if costs.recovered > 1:
        fix = " Above 1 the reconstructions lower the loss: this text is unlike the model's own; use the KL."
    return (
        f"The language model's loss is {costs.average('spliced'):.3f} nats a token with reconstructions, "
        f"{costs.average('original'):.3f} without, {costs.average('zero'):.3f} with zero ablation. "
        f"1 means nothing lost, 0 as bad as zero ablation.{fix}"
    )
