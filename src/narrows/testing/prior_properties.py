"""The properties of a prior, each a function that raises if it lacks it, and tells whether it applies."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from narrows.core import Batch, Prior, seeded
from narrows.core.check import RequestError
from narrows.testing.case import some
from narrows.testing.prior_case import (
    CLASSES,
    DRAWS,
    PriorCase,
    cells_of,
    edges_of,
    far_from,
    far_from_each_other,
)
from narrows.train.loop import Training

__all__ = ["PRIOR_PROPERTIES"]

_UNKNOWN = "no_such_option"
_TURNS = 4
_REFUSED: dict[str, tuple[Any, ...]] = {
    "temperature": (0.0, -1.0),
    "top_p": (0.0, -0.5, 1.5),
    "top_k": (-1,),
    "steps": (0,),
    "guidance": (-1.0,),
    "sampler": ("no such sampler",),
}
"""Values that no prior accepts, by option of `sample`."""


def unknown_options(case: PriorCase) -> bool:
    """Unknown options of the builder and of `sample` are refused, not dropped."""
    prior = case.build()

    def build() -> Prior:
        with seeded(0):
            return case.builder(case.symbols, **{**case.options, _UNKNOWN: 1})

    unknown: dict[str, Any] = {_UNKNOWN: 1}
    for what, call in (("the builder", build), ("`sample`", lambda: prior.sample(2, **unknown))):
        try:
            call()
        except TypeError:
            continue
        case.require(False, unknown_options, f"{what} accepted `{_UNKNOWN}=1`; it must not take **kwargs.")
    return True


def symbols(case: PriorCase) -> bool:
    """Draws have the symbols' shape, type and range; likelihoods and losses are finite, one for each row."""
    wanted, codes = case.symbols.shape, case.symbols.codes
    for prior, label in case.variants():
        for n in (1, 5):
            drawn = case.draw(prior, n, label=label)
            case.require(drawn.shape == (n, *wanted), symbols, f"{n} draws have shape {tuple(drawn.shape)}.")
            if codes:
                good = drawn.dtype == torch.long and int(drawn.min()) >= 0 and int(drawn.max()) < codes
                sentence = (
                    f"draws are {drawn.dtype} from {drawn.min()} to {drawn.max()}, not indices of {codes}."
                )
                case.require(good, symbols, sentence)
            case.require(bool(drawn.isfinite().all()), symbols, "a draw is not finite.")
            if prior.has_nll:
                nll = case.nll(prior, drawn, label)
                good = nll.shape == (n,) and bool(nll.isfinite().all())
                case.require(good, symbols, f"the nll of {n} draws has shape {tuple(nll.shape)}: {nll}.")
    for player in case.build().players():
        with seeded(0):
            loss = player.loss(case.codes(7), 0, None)
        good = loss.total.ndim == 0 and bool(loss.total.isfinite())
        case.require(good, symbols, f"the loss of {player.name} is {loss.total}.")
    return True


def gradients(case: PriorCase) -> bool:
    """Every parameter belongs to one player, and gets a gradient from its loss within a few steps."""
    prior, batch = case.build(labels=case.labelled).train(), case.codes()
    with seeded(0):
        prior.prepare(case.model, batch)
        training = Training(prior, lr=1e-3)
        reached: set[int] = set()
        for _ in range(_TURNS):
            for index, player in enumerate(training.players):
                training.step_player(index, batch)
                reached |= {id(p) for p in player.parameters if p.grad is not None and bool(p.grad.any())}
            training.step += 1
    owned = [id(p) for player in training.players for p in player.parameters]
    learned = {id(p): name for name, p in prior.named_parameters() if p.requires_grad}
    case.require(len(owned) == len(set(owned)), gradients, "two players own the same parameter.")
    lost = [name for i, name in learned.items() if i not in owned]
    case.require(not lost, gradients, f"no player owns {some(lost)}; train it or set requires_grad=False.")
    dry = [name for i, name in learned.items() if i not in reached]
    case.require(not dry, gradients, f"within {_TURNS} steps no gradient reaches {some(dry)}.")
    return True


def total_probability(case: PriorCase) -> bool:
    """The probabilities of all cases sum to 1, and a density of two numbers integrates to 1; a bound's to at most 1."""
    applies = False
    for prior, label in case.variants():
        found = case.table(prior, label)
        if found is None:
            continue
        applies = True
        total, slack = float(found[1].sum()), 1e-3 if case.symbols.codes else 0.03
        good = total < 1 + slack and (not prior.exact or total > 1 - slack)
        wanted = "1" if prior.exact else "at most 1"
        case.require(good, total_probability, f"the probabilities sum to {total:.5g}, not {wanted}.")
    return applies


def draws_follow_the_likelihood(case: PriorCase) -> bool:
    """Draws, whatever `sample` caches, have the probabilities of `nll`, which reads all symbols at once."""
    applies = False
    for prior, label in case.variants():
        found = case.table(prior, label) if prior.exact else None
        if found is None:
            continue
        applies = True
        points, p, axes = found
        drawn, codes = case.draw(prior, DRAWS, label=label), case.symbols.codes
        edges = edges_of(drawn, axes) if axes else []
        cells, of_draws = cells_of(points, codes, edges), cells_of(drawn, codes, edges)
        size = 1 + int(torch.cat([cells, of_draws]).max())
        shares = torch.zeros(size, dtype=torch.double).index_add_(0, cells, p.double())
        counts = of_draws.bincount(minlength=size)
        sentence = f"{DRAWS} draws do not have the probabilities that `nll` gives."
        case.require(not far_from(counts, shares), draws_follow_the_likelihood, sentence)
    return applies


def guidance(case: PriorCase) -> bool:
    """Guidance is 1 by default and then none; 0 ignores labels; a prior that was told none refuses it."""
    alone = case.build()
    if "guidance" not in case.known(alone):
        return False
    default = inspect.signature(alone.sample).parameters["guidance"].default
    case.require(default == 1, guidance, f"its default is {default}, not 1.")
    what = "guidance=2 of a prior that is told no labels"
    case.refused(guidance, what, partial(case.draw, alone, 2, guidance=2.0))
    if not case.labelled:
        return True
    prior = case.fitted(labels=True)
    one = case.draw(prior, 50, label=1)
    same = torch.equal(one, case.draw(prior, 50, label=1, guidance=1.0))
    case.require(same, guidance, "draws with guidance=1 are others than those without.")

    def apart(**options: Any) -> bool:
        drawn = [case.draw(prior, DRAWS, label=label, **options) for label in range(CLASSES)]
        edges = [] if case.symbols.codes else edges_of(drawn[0])
        cells = [cells_of(rows, case.symbols.codes, edges) for rows in drawn]
        size = int(torch.cat(cells).max()) + 1
        return far_from_each_other(*(c.bincount(minlength=size) for c in cells))

    case.require(apart(), guidance, "draws of two classes do not differ: are labels read?")
    try:
        differ = apart(guidance=0.0)
    except RequestError:  # a sampler that only strengthens labels
        return True
    case.require(not differ, guidance, "with guidance=0 draws depend on labels; 1 is none, 0 is no labels.")
    return True


def sampling_options_are_checked(case: PriorCase) -> bool:
    """Temperatures, shares, steps and names of samplers out of range are refused."""
    prior = case.fitted()
    for name in sorted(case.known(prior) & set(_REFUSED)):
        for value in _REFUSED[name]:
            options: dict[str, Any] = {name: value}
            what = f"`sample({name}={value!r})`"
            case.refused(sampling_options_are_checked, what, partial(case.draw, prior, 2, **options))
    return True


def labels(case: PriorCase) -> bool:
    """A prior that is told labels says so and wants them one-hot; one that is told none is not changed by them."""
    plain = case.fitted()
    case.require(
        plain.conditions == (), labels, f"its conditions are {plain.conditions}, but it is told none."
    )
    same = torch.equal(case.draw(plain, 5), case.draw(plain, 5, label=0))
    case.require(
        same, labels, "labels, which are the decoder's, change the draws of a prior that is told none."
    )
    if not case.labelled:
        return True

    def without() -> Prior:
        return case.builder(case.symbols, **{**case.options, "labels": True, "classes": 0})

    case.refused(labels, "labels=True for data without labels", without)
    told = case.fitted(labels=True)
    good = told.conditions == ("labels",)
    case.require(good, labels, f"its conditions are {told.conditions}, but it is told labels.")
    wrong = {"labels": torch.eye(CLASSES + 1)[[0, 1]]}
    case.refused(labels, f"labels of {CLASSES + 1} classes", lambda: told.sample(2, wrong))
    if told.has_nll:
        rows = case.draw(told, 2)
        none = {"labels": torch.zeros(2, CLASSES)}
        same = torch.equal(told.nll(rows), told.nll(rows, none))
        case.require(same, labels, "the likelihood without labels is not that of rows of zeros.")
        batch = Batch(rows)
        case.refused(labels, "training without labels", lambda: told.train().loss(batch))
    return True


def save_and_load(case: PriorCase) -> bool:
    """A state dict that went through safetensors gives the same draws and likelihoods in a new prior."""
    for prior, label in case.variants():
        stored = to_bytes({name: t.detach().clone().contiguous() for name, t in prior.state_dict().items()})
        other = case.build(seed=7, labels=label is not None).eval()
        other.load_state_dict(from_bytes(stored))
        drawn = case.draw(prior, 5, label=label)
        same = torch.equal(drawn, case.draw(other, 5, label=label))
        if prior.has_nll:
            same = same and torch.equal(case.nll(prior, drawn, label), case.nll(other, drawn, label))
        case.require(same, save_and_load, "a loaded prior differs; is something not in the state dict?")
    return True


def purity(case: PriorCase) -> bool:
    """Evaluating a loss, a likelihood or a draw changes no parameter, no buffer and no mode."""
    prior, batch = case.fitted(), case.codes(9)
    for mode in (True, False):
        prior.train(mode)
        before = {name: t.clone() for name, t in prior.state_dict().items()}
        with seeded(0):
            for player in prior.players():
                player.loss(batch, 1, None)
            drawn = prior.sample(3)
            if prior.has_nll:
                prior.nll(drawn)
        changed = [name for name, t in prior.state_dict().items() if not torch.equal(t, before[name])]
        good = not changed and prior.training is mode
        sentence = f"a loss, a likelihood or a draw changed {some(changed) if changed else 'its mode'}."
        case.require(good, purity, sentence)
    return True


PRIOR_PROPERTIES: tuple[Callable[[PriorCase], bool], ...] = (
    unknown_options,
    symbols,
    gradients,
    total_probability,
    draws_follow_the_likelihood,
    guidance,
    sampling_options_are_checked,
    labels,
    save_and_load,
    purity,
)
