"""The loss of a language model with reconstructions spliced in, by position, by sequence and by the kind of error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from narrows.activations.splice import Costs
from narrows.audit.evaluations.evaluation import Evaluation
from narrows.audit.evidence.reseeds import redrawn, reseed, spread_of_parts
from narrows.audit.evidence.splicing import Splicer, language_of, spliceable
from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Check, Finding, not_measured
from narrows.core.check import whole

__all__ = ["Splice", "by_position", "worst"]

_POSITIONS = {"first": (0, 1), "2-8": (1, 8), "9-64": (8, 64), "later": (64, None)}
"""Positions of the token that predicts, counted from 0."""

_SEQUENCES, _WORST = 100, 0.01

_ROUNDING = 1e-4
"""Largest KL in nats that rounding explains if nothing is changed."""


class Splice(Evaluation):
    r"""Cross-entropy and KL with reconstructions spliced in, by position and in the worst sequences.

    .. math:: \mathrm{KL}_t = \sum_v p_t(v) \log \frac{p_t(v)}{q_t(v)}, \qquad
        \mathrm{CE}_t = \log p_t(x_{t+1}) - \log q_t(x_{t+1})

    p is the language model, q the same model with the activations x replaced by the reconstructions; means over the
    predictions at the first token, at tokens 2 to 8, 9 to 64, and later ones, and over the 1 % of sequences with the
    largest mean. With the error term kept, x is replaced by the reconstruction plus its error, which must cost
    nothing: it tests hook point and units. A random error of equal length, x + ‖x − x̂‖ u with u uniform on the
    sphere, shows how much of the KL is due to the length of the error alone.

    Figures: `splice/kl/first`, `splice/kl/2-8`, `splice/kl/9-64`, `splice/kl/later` and `splice/kl/worst`, the same of
    the cross-entropy as `splice/ce/first`, `splice/ce/2-8`, `splice/ce/9-64`, `splice/ce/later` and `splice/ce/worst`,
    `splice/error-kept`, `splice/random-error`.

    Chance: a random dictionary of equal shape and L0, spliced in. The spread of the worst sequences is that over five
    parts of the sequences.

    Cost: four passes of the language model over the tokens, and three for the losses without reconstructions.

    Misleads when: the text is unlike the model's own, so that a worse model has a lower loss: use the KL. If special
    tokens were not harvested, they keep their activations, which lowers the costs. A mean over all positions hides
    the first ones, which are few and often the most sensitive.

    Args:
        tokens: largest number of tokens.

    Reference:
        Gurnee, SAE Reconstruction Errors Are (Empirically) Pathological, 2024, for the random error.
    """

    seconds: ClassVar[float] = 12

    def __init__(self, *, tokens: int = 16_384) -> None:
        self.tokens = whole("tokens", tokens, low=2)

    def lacks(self, view: View) -> str:
        """The data must be activations of one hook point of a causal language model that is here."""
        provenance = spliceable(view.dataset)
        if provenance is None:
            return "The data are not single activations of one hook point of a causal language model."
        language_of(provenance)  # raises if the language model is gone
        return ""

    def __call__(self, view: View) -> Finding:
        """The figures by position, of the worst sequences, and with other errors."""
        splicer = Splicer.of(view.dataset, self.tokens)
        if splicer is None:
            return Finding((not_measured("splice/kl", "The hook point is not in the language model."),))
        costs = splicer.contexts(view.model)
        control = None if view.control is None else splicer.contexts(view.control.model)
        return Finding((*_parts(view, splicer, costs, control), *_errors(view, splicer, costs)))


def by_position(costs: Costs, name: str, first: int, last: int | None) -> float:
    """The mean cost of the predictions at some positions, in nats.

    Args:
        costs: of contexts, (contexts, T - 1).
        name: ``kl``, or ``ce`` for the increase of the cross-entropy.
        first: position of the first token that predicts, from 0.
        last: the position after the last.
    """
    return _mean(costs[:, first:last], name)


def worst(costs: Costs, name: str, share: float = _WORST) -> float:
    """The mean cost of the sequences with the largest mean costs, in nats; at least one sequence."""
    weight = costs.weight.double()
    each = (_values(costs, name) * weight).sum(1) / weight.sum(1)
    return float(each.topk(max(1, int(share * len(each)))).values.mean())


def _values(costs: Costs, name: str) -> Tensor:
    return costs.kl.double() if name == "kl" else costs.spliced.double() - costs.original.double()


def _mean(costs: Costs, name: str) -> float:
    weight = costs.weight.double()
    return float((_values(costs, name) * weight).sum() / weight.sum())


def _parts(view: View, splicer: Splicer, costs: Costs, control: Costs | None) -> list[Check]:
    """The figures by position and of the worst sequences, with chance level and spread over redraws of the contexts."""
    figures: dict[str, Callable[[Costs], float]] = {}
    says, numbers, missing = dict[str, str](), dict[str, int](), list[Check]()
    for what, word in (("kl", "KL"), ("ce", "Increase of the cross-entropy")):
        for name, (first, last) in _POSITIONS.items():
            key, count = f"splice/{what}/{name}", int((costs.weight[:, first:last] > 0).sum())
            if count == 0:
                missing.append(not_measured(key, "No context is as long as this.", 0))
                continue
            if not any(bool(kept[:, :last].any()) for _, kept in splicer.inputs):
                missing.append(not_measured(key, "No activation up to this position was harvested.", count))
                continue
            figures[key] = partial(by_position, name=what, first=first, last=last)
            says[key], numbers[key] = f"{word} of predictions at {_tokens(name)} of a context.", count
        key, count = f"splice/{what}/worst", len(costs.kl)
        if count < _SEQUENCES:
            missing.append(not_measured(key, f"{count} sequences are too few for their worst 1 %.", count))
            continue
        figures[key] = partial(worst, name=what)
        few = max(1, int(_WORST * count))
        says[key], numbers[key] = f"{word}, the mean of the worst 1 % of sequences ({few}).", count
    spreads = _spreads(figures, costs, view.seed)
    return [
        Check(
            key,
            figure(costs),
            "nats",
            "info",
            says[key],
            None if control is None else figure(control),
            spreads.get(key),
            numbers[key],
        )
        for key, figure in figures.items()
    ] + missing


def _tokens(name: str) -> str:
    return {"first": "the first token", "later": "later tokens"}.get(
        name, f"tokens {name.replace('-', ' to ')}"
    )


def _spreads(
    figures: Mapping[str, Callable[[Costs], float]], costs: Costs, seed: int
) -> dict[str, float | None]:
    """Over redraws of the contexts; of the worst ones over parts of the contexts."""
    count = len(costs.kl)
    if count < 2:
        return {}
    means = {name: figure for name, figure in figures.items() if not name.endswith("/worst")}

    def one(seed: int) -> dict[str, float]:
        drawn = costs[redrawn(count, seed)]
        return {name: figure(drawn) for name, figure in means.items()}

    found: dict[str, float | None] = {name: each.spread for name, each in reseed(one, seed).items()}
    for name, figure in figures.items():
        if name not in means:
            found[name] = spread_of_parts(partial(_figure_of, figure, costs), count, seed)
    return found


def _figure_of(figure: Callable[[Costs], float], costs: Costs, rows: Tensor) -> float:
    return figure(costs[rows])


def _errors(view: View, splicer: Splicer, costs: Costs) -> list[Check]:
    """The KL with the error kept, and with a random error of equal length."""
    generator = torch.Generator().manual_seed(view.seed)

    def elsewhere(old: Tensor, new: Tensor) -> Tensor:
        drawn = torch.randn(old.shape, generator=generator).to(old)
        length, unit = ((t.flatten(2).norm(dim=2)) for t in (old - new, drawn))
        return old + drawn * (length / unit).reshape(*length.shape, *[1] * (old.ndim - 2))

    kept = splicer.contexts(view.model, lambda old, new: new + (old - new))
    random = splicer.contexts(view.model, elsewhere)
    zero, other, own = _mean(kept, "kl"), _mean(random, "kl"), _mean(costs, "kl")
    broken = abs(zero) > _ROUNDING
    fix = (
        " The reconstructions are added at another place or in other units: look at the hook point."
        if broken
        else ""
    )
    figure = {"": lambda c: _mean(c, "kl")}
    count = int((costs.weight > 0).sum())
    return [
        Check(
            "splice/error-kept",
            zero,
            "nats",
            "bad" if broken else "ok",
            f"KL with reconstruction and error in place of the activation; it must be 0.{fix}",
            spread=_spreads(figure, kept, view.seed).get(""),
            n=count,
            no_chance="it is 0 for any dictionary",
        ),
        Check(
            "splice/random-error",
            other,
            "nats",
            "info",
            f"KL with a random error as long as that of each reconstruction; that of the reconstructions is {own:.3g}, "
            f"{own / max(other, 1e-12):.2g} times as much.",
            spread=_spreads(figure, random, view.seed).get(""),
            n=count,
            no_chance="it is a control itself",
        ),
    ]
