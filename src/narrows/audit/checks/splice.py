"""The loss of a language model with reconstructions in place of its activations: CE, KL, loss recovered."""

from __future__ import annotations

import math

from narrows.audit.evidence.splicing import Splicer
from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Check, Finding, not_measured
from narrows.core.check import NarrowsError

__all__ = ["splice"]

_ENOUGH = 0.8


def splice(view: View) -> Finding:
    """Cross-entropy, KL and loss recovered, for harvests of a causal language model."""
    try:
        splicer = Splicer.of(view.dataset)
    except NarrowsError as error:
        return Finding((not_measured("splice/recovered", str(error)),))
    if splicer is None:
        return Finding()
    costs = splicer(view.model)
    recovered = costs.recovered
    losses = (
        f"The language model's loss is {costs.average('spliced'):.3f} nats a token with reconstructions, "
        f"{costs.average('original'):.3f} without, {costs.average('zero'):.3f} with zero ablation. "
        "1 means nothing lost, 0 as bad as zero ablation."
    )
    low = math.isnan(recovered) or recovered < _ENOUGH
    fix = " Train longer, or use more latents or a larger L0." if low else ""
    if recovered > 1:
        fix = " Above 1 the reconstructions lower the loss: this text is unlike the model's own; use the KL."
    return Finding(
        (
            Check("splice/recovered", recovered, "", "warn" if low else "ok", losses + fix),
            Check(
                "splice/recovered-from-mean",
                costs.recovered_from_mean,
                "",
                "info",
                f"The same against mean ablation ({costs.average('mean'):.3f} nats).",
            ),
            Check(
                "splice/ce",
                costs.average("spliced") - costs.average("original"),
                "nats",
                "info",
                "The increase of the next token's cross-entropy with reconstructions.",
            ),
            Check(
                "splice/kl",
                costs.average("kl"),
                "nats",
                "info",
                "KL of the original next-token distribution from that of the spliced model.",
            ),
        )
    )
