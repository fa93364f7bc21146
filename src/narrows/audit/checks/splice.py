"""What a language model loses with reconstructions in place of its activations: CE, KL, loss recovered."""

from __future__ import annotations

import math

from narrows.audit.evidence.splicing import Splicer
from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Check, Finding
from narrows.core.check import NarrowsError

__all__ = ["splice"]

_ENOUGH = 0.8


def splice(view: View) -> Finding:
    """Cross-entropy, KL and loss recovered, where the data are a harvest of a causal language model."""
    try:
        splicer = Splicer.of(view.dataset)
    except NarrowsError as error:
        return Finding((Check("splice/recovered", None, "", "info", f"Not measured. {error}"),))
    if splicer is None:
        return Finding()
    costs = splicer(view.model)
    recovered = costs.recovered
    told = (
        f"With reconstructions the language model's loss is {costs.average('spliced'):.3f} nats a token, "
        f"untouched {costs.average('original'):.3f}, with zeros {costs.average('zero'):.3f}. "
        "1 is nothing lost, 0 as bad as zeros."
    )
    low = math.isnan(recovered) or recovered < _ENOUGH
    fix = " Train longer, or give the code more latents or a larger L0." if low else ""
    if recovered > 1:
        fix = (
            " Above 1 the reconstructions help: this text is unlike the model's own, so read the KL instead."
        )
    return Finding(
        (
            Check("splice/recovered", recovered, "", "warn" if low else "ok", told + fix),
            Check(
                "splice/recovered-from-mean",
                costs.recovered_from_mean,
                "",
                "info",
                f"The same against the mean activation ({costs.average('mean'):.3f} nats) in place of zeros.",
            ),
            Check(
                "splice/ce",
                costs.average("spliced") - costs.average("original"),
                "nats",
                "info",
                "What reconstructions add to the cross-entropy of the next token.",
            ),
            Check(
                "splice/kl",
                costs.average("kl"),
                "nats",
                "info",
                "KL of the untouched model's next-token distribution from the spliced one's.",
            ),
        )
    )
