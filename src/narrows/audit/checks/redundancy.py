"""Redundancy: correlated latents, near-duplicate atoms of a dictionary."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.audit.evidence.control import random_atoms
from narrows.audit.evidence.effects import atoms
from narrows.audit.evidence.reseeds import redrawn, reseed, spread
from narrows.audit.evidence.streams import stretches
from narrows.audit.evidence.view import View
from narrows.audit.metrics.dependence import absolute_correlations, mean_correlation
from narrows.audit.metrics.usage import unit_variance
from narrows.audit.report.finding import Check, Finding, Verdict
from narrows.kernels.metrics import coherence

__all__ = ["redundancy"]

CORRELATED, DUPLICATE = 0.9, 0.95
_LATENTS, _ATOMS = 512, 2048
_CHUNK = 512
_PAIRS = 4096
"""Number of the closest pairs of atoms among which the closest two of those that are not dead are looked for."""


def redundancy(view: View) -> Finding:
    """Correlated latents of a dense code; nearly parallel atoms of a dictionary."""
    if view.sparse is not None:
        return _duplicates(view)
    if view.dense is None or view.rows < 3:
        return Finding()
    variance = unit_variance(view.dense)
    moving = (variance > 1e-4 * variance.max().clamp_min(1e-12)).nonzero().flatten()[:_LATENTS]
    if len(moving) < 2:
        return Finding()
    codes = view.dense[:, moving].double()
    r = absolute_correlations(codes)
    twins, highest = int((r > CORRELATED).any(0).sum()), float(r.max())
    share = twins / len(moving)
    generator = torch.Generator().manual_seed(view.seed)
    order = torch.rand(codes.shape, generator=generator).argsort(0)
    return Finding(
        (
            Check(
                "latents/correlated",
                float(twins),
                f"of {len(moving)}",
                "warn" if share > 0.25 else "ok",
                f"Latents with |r| > {CORRELATED} to another; the largest |r| is {highest:.2f}."
                + (" The code is wider than necessary: use fewer latents." if share > 0.25 else ""),
                spread=spread(lambda rows: _twins(codes[rows]), len(codes), view.seed),
                n=len(codes),
            ),
            Check(
                "correlation",
                mean_correlation(codes),
                "",
                "info",
                "The mean |r| of two latents that vary; by chance, of the same values in another order.",
                chance=mean_correlation(codes.gather(0, order)),
                spread=spread(lambda rows: mean_correlation(codes[rows]), len(codes), view.seed),
                n=len(codes),
            ),
        )
    )


def _twins(codes: Tensor) -> float:
    return float((absolute_correlations(codes) > CORRELATED).any(0).sum())


def _duplicates(view: View) -> Finding:
    chosen, directions = atoms(view, _ATOMS)
    if len(chosen) < 2:
        return Finding()
    unit = torch.nn.functional.normalize(directions.flatten(1).double(), dim=1)
    random = random_atoms(len(unit), unit.shape[1], view.seed)
    closest, nearest_random = _nearest(unit), _nearest(random.double())
    over = _spreads(view, chosen, unit)
    twins = int((closest > DUPLICATE).sum())
    share = twins / len(chosen)
    says = (
        f"Atoms with cosine > {DUPLICATE} to another; the median largest cosine is {closest.median():.2f}, of random "
        f"atoms {nearest_random.median():.2f}."
    )
    fix = " The dictionary is wider than necessary: use fewer latents." if share > 0.1 else ""
    verdict: Verdict = "warn" if share > 0.1 else "ok"
    return Finding(
        (
            Check(
                "atoms/duplicate",
                float(twins),
                f"of {len(chosen)}",
                verdict,
                says + fix,
                chance=float((nearest_random > DUPLICATE).sum()),
                spread=over.get("atoms/duplicate"),
                n=len(chosen),
            ),
            Check(
                "atoms/coherence",
                coherence(directions),
                "",
                "info",
                "The largest |cosine| of two atoms that are not dead. For N random directions in D dimensions it is "
                "about sqrt(4 ln N / D).",
                chance=coherence(random),
                spread=over.get("atoms/coherence"),
                n=len(chosen),
            ),
        )
    )


def _spreads(view: View, chosen: Tensor, unit: Tensor) -> dict[str, float]:
    """The spread of the figures over redraws of the examples, which decide which latents are not dead."""
    assert view.sparse is not None
    fires, codes = stretches(view.sparse)
    if len(codes) < 2:
        return {}
    first, second = torch.triu_indices(len(unit), len(unit), 1)
    cosine = (unit @ unit.T)[first, second]
    closest = cosine.abs().topk(min(_PAIRS, len(cosine))).indices
    twins = (cosine > DUPLICATE).nonzero().flatten()

    def again(seed: int) -> dict[str, float]:
        on = fires[redrawn(len(codes), seed)].sum(0)[chosen] > 0
        pairs = twins[on[first[twins]] & on[second[twins]]]
        left = closest[on[first[closest]] & on[second[closest]]]
        return {
            "atoms/duplicate": float(len(torch.cat([first[pairs], second[pairs]]).unique())),
            "atoms/coherence": float(cosine[left[0]].abs()) if len(left) else 0.0,
        }

    return {name: figure.spread for name, figure in reseed(again, view.seed).items()}


def _nearest(unit: Tensor) -> Tensor:
    """The largest cosine of each atom with any other, (n,)."""
    return torch.cat([_closest(unit, start) for start in range(0, len(unit), _CHUNK)])


def _closest(unit: Tensor, start: int) -> Tensor:
    """The largest cosine of each of some atoms with any other."""
    cosine = unit[start : start + _CHUNK] @ unit.T
    cosine[torch.arange(len(cosine)), torch.arange(start, start + len(cosine))] = -1
    return cosine.amax(1)
