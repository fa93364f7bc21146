"""Rate and distortion."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from narrows.audit.evidence.reseeds import spread
from narrows.audit.evidence.view import View, device_of
from narrows.audit.report.finding import Check, Finding

__all__ = ["distortion_unit", "rate_and_distortion"]

_PRIOR_ROWS = 256


def distortion_unit(view: View) -> str:
    """The unit of the distortion: nats, or squared error if the likelihood omits its constants."""
    return view.model.likelihood.unit


def rate_and_distortion(view: View) -> Finding:
    """Mean rate and distortion of an example, their sum (the negative ELBO), and the other costs."""
    unit = distortion_unit(view)
    distortion = float(view.distortion.double().mean())
    lost = "-log p(x | z) of an example, on average."
    if unit == "squared error":
        lost = "The squared error of an example, summed over its elements, on average."
    each = view.distortion.double() if view.rate is None else (view.distortion + view.rate).double()
    chance = _chance(view, unit)
    why = "the random dictionary has no density" if chance is None and view.control is not None else ""
    checks = [replace(_mean("distortion", view.distortion, unit, lost, view), chance=chance, no_chance=why)]
    if view.rate is not None:
        rate = float(view.rate.double().mean())
        checks.append(_mean("rate", view.rate, "nats", f"KL(q || p): {rate / math.log(2):.3g} bits.", view))
        if unit == "nats":
            total = rate + distortion
            checks.append(_mean("bound", each, "nats", "Rate plus distortion: the negative ELBO.", view))
            checks += _per_element(view, total, checks[-1].spread)
    for name, cost in view.costs.items():
        if name != "kl":
            nats = name.startswith("kl/")
            label = f"rate/{name[3:]}" if nats else f"cost/{name}"
            says = "The rate of this level." if nats else f"The cost `{name}` of an example, unweighted."
            checks.append(Check(label, float(cost.double().mean()), "nats" if nats else "", says=says))
    if view.indices is not None:
        checks.append(_capacity(view))
    checks.extend(_second_stage(view))
    return Finding(tuple(checks))


def _chance(view: View, unit: str) -> float | None:
    """The squared error of the random dictionary; None if the distortion is no squared error."""
    if unit != "squared error" or view.control is None:
        return None
    likelihood = view.model.likelihood
    return float(likelihood.nll(view.control.output, view.batch.target, view.weight).double().mean())


def _mean(name: str, each: Tensor, unit: str, says: str, view: View) -> Check:
    """The mean over the examples, with its spread over redraws of them."""
    wide = each.double()
    over = spread(lambda rows: float(wide[rows].mean()), len(wide), view.seed)
    return Check(name, float(wide.mean()), unit, says=says, spread=over, n=len(wide))


def _per_element(view: View, nats: float, over: float | None) -> list[Check]:
    likelihood = view.model.likelihood
    if not isinstance(view.batch.target, Tensor):
        return []  # several modalities have no common unit
    count = float(likelihood.elements(view.batch.target, view.weight).mean())
    in_bits = 1 / (math.log(2) * max(count, 1.0))
    over = None if over is None else over * in_bits
    says = f"The bound for one {likelihood.element} of an example; comparable only between data of the same scaling."
    name = f"bits-per-{likelihood.element}"
    return [Check(name, nats * in_bits, "bits", says=says, spread=over, n=len(view))]


def _second_stage(view: View) -> list[Check]:
    """The cost of the codes under a prior that was fitted to them."""
    prior = view.model.prior
    if prior is None or not prior.has_nll:
        return []
    few = view.batch[slice(0, _PRIOR_ROWS)].to(device_of(view.model))
    symbols = view.model.as_symbols(few)
    nats = float(prior.nll(symbols.x, symbols.condition).double().mean())
    says = "-log p(code) under the prior fitted to the codes"
    if symbols.x.is_floating_point():
        says += ", a density: the cost in bits depends on the precision of the codes."
    else:
        says += f": {nats / math.log(2):.4g} bits an example."
    return [Check("rate/prior", nats, "nats", says=says)]


def _capacity(view: View) -> Check:
    """The capacity of a discrete code: the number of positions times the log of the codebook size."""
    assert view.indices is not None
    positions = view.indices[0].numel()
    nats = positions * math.log(view.codes)
    says = f"{positions} positions of {view.codes} codes: at most {nats / math.log(2):.4g} bits an example."
    return Check("capacity", nats, "nats", says=says)
