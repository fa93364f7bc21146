"""Absorption: a concept's latent is off where a narrower latent stands for both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from string import ascii_lowercase
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.audit.evaluations.evaluation import Evaluation
from narrows.audit.evidence.answers import answer_effects
from narrows.audit.evidence.concepts import Concepts
from narrows.audit.evidence.control import random_dictionary
from narrows.audit.evidence.effects import effects
from narrows.audit.evidence.reseeds import reseed, spread
from narrows.audit.evidence.view import View, device_of
from narrows.audit.metrics.absorption import OFF, Concept, absorption, causally_absorbed, linear_probes
from narrows.audit.report.finding import Check, Finding, not_measured
from narrows.core import Batch, dense
from narrows.core.check import choice, refuse, whole
from narrows.core.evidence import Latents
from narrows.kernels.metrics import l0

__all__ = ["Absorption"]

F1, CONCEPTS, FEWEST = 0.6, 0.8, 10
"""The gate: the least F1 of a probe, the share of concepts that must reach it, and the least number of examples of a
concept in each half."""

_CHUNK, _CAUSAL = 1024, 256


class Absorption(Evaluation):
    r"""How often a concept's latents are off although the concept is there, because a narrower latent stands for both.

    .. math::
        \text{full} = P\Big(f_m = 0 \;\forall m, \; c_{j^*} \ge 0.025, \; q_{j^*} \ge 0.4\, a\Big), \qquad
        a = x \cdot p,\; c_j = \cos(p, d_j),\; q_j = f_j\, d_j \cdot p,\; j^* = \arg\max_j q_j

    over the examples of a concept that its linear probe p recognises, averaged over concepts. The main latents m have
    the largest weights in an L1 logistic regression of the concept on the codes; there are more of them while F1 of a
    regression on these alone grows by over 0.03, and their number is the *split count*. The *fraction* counts partial
    absorption too: with A the three largest :math:`q_j` of other latents with :math:`c_j \ge 0.1` and m the sum of the
    main latents' :math:`q_j`, it is 0 if :math:`A < 0.4 a` or :math:`m \ge a`, else :math:`r / (r + m)` with
    :math:`r = \min(A, a - m)`. Concepts are the parents of ``hierarchy``, or in a harvest of text the first letters of
    words, of which `narrows.testing.speller` is a model. Where the language model is asked for the letter right after
    the activation, *causal* is the variant of the paper: the largest effect of a latent on the correct letter's logit
    less the mean of the others (integrated gradients, 6 steps) exceeds the second largest by 1 or more.

    Figures: `absorption/full`, `absorption/fraction`, `absorption/splits`, and `absorption/causal` if it is measured.

    Chance: the same figures of a random dictionary of equal shape and L0 on the same examples.

    Cost: codes of `rows` examples, and six times a regression of all concepts on them.

    Misleads when: children are frequent. A child in more than some 6 % of its parent's examples raises F1 by over 0.03,
    is counted as a split, and full absorption is 0 whatever is absorbed; the direction of the probe leans to frequent
    children, too. The check counts such latents and warns. Where the truth is known, give ``direction=truth`` and
    ``main=nearest``. A probe that does not find the concept makes both figures meaningless: unless its F1 exceeds 0.6
    for 80 % of the concepts, nothing is reported.

    Args:
        rows: largest number of examples.
        direction: ``probe``, or ``truth`` where the data know it.
        main: main latents by ``probe``, or the one whose atom is ``nearest`` to the direction.
        after: in text, how many tokens after a word the activation is read.

    Raises:
        RequestError: an option out of range.

    Example:
        >>> Absorption(after=1).after
        1

    Reference:
        Chanin et al., A is for Absorption, 2024. arXiv:2409.14507
    """

    seconds: ClassVar[float] = 30

    def __init__(
        self, rows: int = 4000, direction: str = "probe", main: str = "probe", after: int = 0
    ) -> None:
        self.rows, self.after = whole("rows", rows, low=100), whole("after", after, low=0)
        self.direction = choice("direction", direction, ("probe", "truth"))
        self.main = choice("main", main, ("probe", "nearest"))

    def lacks(self, view: View) -> str:
        """Why the absorption cannot be measured; empty if it can."""
        if view.control is None:
            return "Absorption is measured of sparse codes with one position, and this is none."
        if Concepts.of(view.dataset, self.after, 1, view.seed) is None:
            return (
                "Absorption needs concepts: the data set `hierarchy`, or a harvest of single tokens of a language "
                "model with its tokenizer (see `narrows.testing.speller`)."
            )
        return ""

    def __call__(self, view: View) -> Finding:
        """Split count, full absorption and absorbed fraction; the causal variant where it can be measured."""
        concepts = Concepts.of(view.dataset, self.after, self.rows, view.seed)
        assert concepts is not None
        assert view.control is not None
        if self.direction == "truth" and concepts.directions is None:
            raise refuse(
                "direction", "truth", "`probe`", "These data do not know the directions of their concepts."
            )
        given = _encoded(view, concepts)
        first = self._measured(given, concepts, view.seed)
        if closed := _gate(first, concepts):
            names = ("full", "fraction", "splits")
            return Finding(tuple(not_measured(f"absorption/{name}", closed, len(given.x)) for name in names))
        again = reseed(lambda seed: _means(self._measured(given, concepts, seed)), view.seed)
        control = random_dictionary(Batch(given.x), view.control.z.width, l0(given.codes), view.seed)
        random = _Given(given.x, dense(control.z), control.model.decoder.get_parameter("atoms").detach())
        control_found = self._measured(random, concepts, view.seed)
        chance = _means(control_found)
        figures = {name: (value.mean, chance[name], value.spread) for name, value in again.items()}
        causal = _with_control(
            _causal(view, concepts, given, self.after, _passing(first)),
            _causal(view, concepts, random, self.after, _passing(control_found)),
            view.seed,
        )
        return Finding(_checks(figures, causal, _passing(first), self.main == "probe"))

    def _measured(self, given: _Given, concepts: Concepts, seed: int) -> list[Concept]:
        """The concepts with enough examples in both halves of a split."""
        train = concepts.half(seed)
        enough = torch.stack([concepts.labels[part].sum(0) for part in (train, ~train)]).amin(0) >= FEWEST
        labels, directions, mains = concepts.labels[:, enough], None, None
        if not labels.shape[1]:
            return []
        if self.direction == "truth" and concepts.directions is not None:
            directions = concepts.directions[enough]
        if self.main == "nearest":
            along = linear_probes(given.x[train], labels[train])[0] if directions is None else directions
            mains = list((along @ F.normalize(given.atoms, dim=1).T).argmax(1, keepdim=True))
        return absorption(
            given.x, given.codes, given.atoms, labels, train, directions=directions, mains=mains, seed=seed
        )


@dataclass(frozen=True)
class _Given:
    """Targets (R, D), codes (R, N) and atoms (N, D) of what is examined."""

    x: Tensor
    codes: Tensor
    atoms: Tensor


@torch.no_grad()
def _encoded(view: View, concepts: Concepts) -> _Given:
    """The examples of the concepts, and the latents that are on in any of them."""
    assert view.dataset is not None
    parts, targets = list[Tensor](), list[Tensor]()
    for rows in concepts.rows.split(_CHUNK):
        batch = view.dataset.batch(rows, conditions=view.model.conditions, device=device_of(view.model))
        code = view.model.encode(batch)
        latents = code.find(Latents)
        parts.append(dense(code.z if latents is None else latents.z).float().cpu())
        targets.append(batch.target.flatten(1).float().cpu())
    codes = torch.cat(parts)
    living = (codes != 0).any(0).nonzero().squeeze(1)
    atoms = effects(view, living, torch.ones(len(living))).flatten(1)
    return _Given(torch.cat(targets), codes[:, living], atoms)


def _passing(found: Sequence[Concept]) -> list[Concept]:
    """The concepts that are recognised, or whose direction was given."""
    return [one for one in found if len(one.rows) and not one.f1 <= F1]


def _gate(found: Sequence[Concept], concepts: Concepts) -> str:
    """Why the probes are too weak; empty if they are not."""
    passing, all_of_them = len(_passing(found)), len(concepts.names)
    if passing >= CONCEPTS * all_of_them:
        return ""
    best = f" (mean F1 {fmean(one.f1 for one in found):.2f})" if found else ""
    return (
        f"linear probes recognise {passing} of {all_of_them} concepts with an F1 above {F1}{best}, and {CONCEPTS:.0%} "
        f"are needed; a concept needs {FEWEST} examples in each half. Harvest more text, or another layer."
    )


def _means(found: Sequence[Concept]) -> dict[str, float]:
    """The means over the concepts that are recognised."""
    passing = _passing(found)
    columns = {
        "full": [one.full for one in passing],
        "fraction": [one.fraction for one in passing],
        "splits": [float(len(one.main)) for one in passing],
    }
    return {name: fmean(values) if values else math.nan for name, values in columns.items()}


def _causal(
    view: View, concepts: Concepts, given: _Given, after: int, found: Sequence[Concept]
) -> list[Tensor] | None:
    """Whether each recognised example of each concept is absorbed by effects, (R,) float64 each."""
    if view.known.provenance is None or not found:
        return None
    unit, asked = F.normalize(given.atoms, dim=1), [one.rows[:_CAUSAL] for one in found]
    off = [
        (given.codes[rows][:, list(one.main)].abs() < OFF).all(1)
        for one, rows in zip(found, asked, strict=True)
    ]
    silent = [rows[where] for rows, where in zip(asked, off, strict=True)]
    flags = [torch.zeros(len(rows), dtype=torch.double) for rows in asked]
    if not (rows := torch.cat(silent)).numel():
        return flags
    letter = torch.tensor([ascii_lowercase.find(name) for name in concepts.names])
    effect = answer_effects(
        view.dataset,
        concepts.rows[rows],
        after,
        letter[concepts.labels[rows].long().argmax(1)],
        given.x[rows],
        given.codes[rows],
        given.atoms,
    )
    if effect is None:
        return None
    parts = effect.split([len(some) for some in silent])
    for one, where, part, flag in zip(found, off, parts, flags, strict=True):
        cosine = unit @ F.normalize(one.direction, dim=0)
        flag[where] = causally_absorbed(part, cosine, torch.ones(len(part)).bool()).double()
    return flags


def _with_control(own: list[Tensor] | None, control: list[Tensor] | None, seed: int) -> Check | None:
    """The causal figure with its chance level, and the spread over redrawn examples."""
    if own is None:
        return None
    every = torch.cat(own)
    return Check(
        "absorption/causal",
        fmean(float(part.mean()) for part in own),
        "",
        "info",
        "The share of examples in which all latents of the concept are off and one aligned latent has the largest "
        "effect on the answer's logit, by 1 or more.",
        None if control is None else fmean(float(part.mean()) for part in control),
        spread(lambda rows: float(every[rows].mean()), len(every), seed),
        len(every),
    )


def _checks(
    figures: dict[str, tuple[float, float, float]],
    causal: Check | None,
    found: Sequence[Concept],
    searched: bool,
) -> tuple[Check, ...]:
    """The figures in words, with a warning if main latents were searched and children may be among them."""
    suspects, n = sum(one.suspects for one in found) * searched, sum(len(one.rows) for one in found)
    known = [one.f1 for one in found if not math.isnan(one.f1)]
    of = f"{len(found)} concepts" + (f" with probes of mean F1 {fmean(known):.2f}" if known else "")
    warning = (
        f" {suspects} latents fire only with one concept and in over 6 % of its examples: splits of it, or children "
        "that absorb it. They are counted as splits, so absorption may be higher than this."
    )
    says = {
        "full": f"The share of examples of {of} in which all its latents are off and another one holds its direction.",
        "fraction": "The share of a concept's direction that up to three other latents hold, the mean over examples.",
        "splits": "The number of latents that stand for a concept: more than 1 is feature splitting.",
    }
    doubt = suspects > 0
    checks = [
        Check(
            f"absorption/{name}",
            value,
            "latents" if name == "splits" else "",
            "warn" if doubt else "info",
            says[name] + (warning if doubt and name != "splits" else ""),
            None if math.isnan(chance) else chance,
            None if math.isnan(spread) else spread,
            n,
        )
        for name, (value, chance, spread) in figures.items()
    ]
    return (*checks, *([] if causal is None else [causal]))
