"""Recovery of the true dictionary, for synthetic data."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.audit.evidence.effects import atoms
from narrows.audit.evidence.view import View
from narrows.audit.metrics.matching import f1, match, on
from narrows.audit.report.finding import Check, Finding, distribution
from narrows.data.synthetic.dictionary import DictionaryTruth

__all__ = ["recovery"]

_ATOMS, _FOUND = 4096, 0.9


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
    found = match(truth, learned)
    agreement = _agreement(view, chosen[found.learned], found.true)
    largest = found.similarity.amax(1)
    share = float((largest > _FOUND).double().mean())
    says = f"{share:.0%} of the {len(truth)} true atoms have a learned one within |cos| {_FOUND}."
    fix = "" if found.mcc >= 0.8 else " Train longer, set L0 to the true one, or use more latents."
    checks = (
        Check(
            "recovery/mcc",
            found.mcc,
            "",
            "ok" if found.mcc >= 0.8 else "warn",
            f"Mean |cosine| of true atoms and their partners, matched one to one. {says}{fix}",
        ),
        Check(
            "recovery/mean-max-cosine",
            found.mean_max,
            "",
            "info",
            "The same if atoms may share a partner.",
        ),
        Check(
            "recovery/f1",
            float(agreement.sum()) / len(truth),
            "",
            "info",
            "F1 of the activity of a true atom and its partner, the mean over true atoms.",
        ),
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


def _agreement(view: View, learned: Tensor, true: Tensor) -> Tensor:
    """F1 of each pair."""
    assert view.sparse is not None
    assert view.true_codes is not None
    return f1(view.true_codes[:, true] != 0, on(view.sparse)[:, learned])
