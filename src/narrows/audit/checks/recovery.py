"""Recovery of the true dictionary, for synthetic data."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from narrows.audit.evidence.effects import atoms
from narrows.audit.evidence.reseeds import redrawn, reseed
from narrows.audit.evidence.view import View
from narrows.audit.metrics.matching import Match, cosines, f1, on
from narrows.audit.report.finding import Check, Finding, distribution
from narrows.data.synthetic.dictionary import DictionaryTruth

__all__ = ["recovery"]

_ATOMS, _FOUND = 4096, 0.9

_PAIRS = 1 << 21
"""Largest number of pairs of a true and a learned atom that are matched several times."""


class Recovered(NamedTuple):
    """Figures of a dictionary against the true one."""

    mcc: float
    mean_max: float
    f1: float


def recovery(view: View) -> Finding:
    """Mean |cosine| of the one-to-one matching (MCC), mean max cosine, and F1 of firing.

    Learned atoms that are never on in the examples are left out.
    """
    made = view.known.truth
    if not isinstance(made, DictionaryTruth) or view.sparse is None or view.true_codes is None:
        return Finding()
    truth = torch.as_tensor(made.atoms)
    chosen, learned = atoms(view, _ATOMS)
    if not len(chosen) or learned.flatten(1).shape[1] != truth.flatten(1).shape[1]:
        return Finding()
    similarity, true_on = cosines(truth, learned), view.true_codes != 0
    learned_on = on(view.sparse)[:, chosen]
    found, chance = _recovered(similarity, true_on, learned_on), _chance(view, truth, true_on)
    spreads = _spreads(view, similarity, true_on, learned_on)
    largest = similarity.amax(1)
    share = float((largest > _FOUND).double().mean())
    says = f"{share:.0%} of the {len(truth)} true atoms have a learned one within |cos| {_FOUND}."
    fix = "" if found.mcc >= 0.8 else " Train longer, set L0 to the true one, or use more latents."
    sentences = {
        "mcc": f"Mean |cosine| of true atoms and their partners, matched one to one. {says}{fix}",
        "mean_max": "The same if atoms may share a partner.",
        "f1": "F1 of the activity of a true atom and its partner, the mean over true atoms.",
    }
    names = {"mcc": "recovery/mcc", "mean_max": "recovery/mean-max-cosine", "f1": "recovery/f1"}
    checks = tuple(
        Check(
            names[key],
            getattr(found, key),
            "",
            ("ok" if found.mcc >= 0.8 else "warn") if key == "mcc" else "info",
            sentence,
            None if chance is None else getattr(chance, key),
            spreads.get(key),
            len(view),
        )
        for key, sentence in sentences.items()
    )
    chart = distribution(
        "recovery",
        "True atoms found",
        "For each true atom its largest |cosine| with a learned one; a recovered atom has 1.",
        "true atoms",
        largest,
        "|cosine|",
    )
    return Finding(checks, (chart,))


def _recovered(similarity: Tensor, true_on: Tensor, learned_on: Tensor) -> Recovered:
    """The figures, from cosines (M, n) and from whether each atom is on in each example, (B, M) and (B, n)."""
    found = Match(similarity)
    agreement = f1(true_on[:, found.true], learned_on[:, found.learned])
    return Recovered(found.mcc, found.mean_max, float(agreement.sum()) / len(similarity))


def _chance(view: View, truth: Tensor, true_on: Tensor) -> Recovered | None:
    """The figures of a random dictionary, without its latents that are never on."""
    if view.control is None or view.control.atoms.shape[1] != truth.flatten(1).shape[1]:
        return None
    firing = on(view.control.z)
    order = firing.sum(0).argsort(descending=True, stable=True)[:_ATOMS]
    alive = order[firing.any(0)[order]]
    return _recovered(cosines(truth, view.control.atoms[alive]), true_on, firing[:, alive])


def _spreads(view: View, similarity: Tensor, true_on: Tensor, learned_on: Tensor) -> dict[str, float]:
    """The spread of each figure over redraws of the examples, which also change which latents are ever on."""
    if similarity.numel() > _PAIRS or len(view) < 2:
        return {}

    def one(seed: int) -> dict[str, float]:
        rows = redrawn(len(view), seed)
        alive = learned_on[rows].any(0)
        return _recovered(similarity[:, alive], true_on[rows], learned_on[rows][:, alive])._asdict()

    return {name: figure.spread for name, figure in reseed(one, view.seed).items()}
