"""The norms of atoms by layer, for dictionaries that span several layers or models."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.audit.evidence.effects import atoms
from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Chart, Check, Finding, Series, histogram

__all__ = ["layers", "shares"]

_ATOMS, _MOST, _OWN = 4096, 64, 0.9


def layers(view: View) -> Finding:
    """Relative norms of atoms (N, L, D): atoms of one layer, shared atoms, and the cosines of adjacent layers.

    Norms are divided by each layer's standard deviation over the examples, because layers differ in scale.
    """
    if view.sparse is None or len(view.output.shape) != 3 or not 2 <= view.output.shape[1] <= _MOST:
        return Finding()
    chosen, spans = atoms(view, _ATOMS)
    if not len(chosen):
        return Finding()
    target = view.batch.target
    spread = (target - target.mean(0)).square().mean((0, 2)).sqrt()
    share = shares(spans / torch.where(spread > 0, spread, 1.0)[:, None])
    own = share.amax(1) > _OWN
    effective = torch.special.entr(share).sum(1).exp()
    unit = torch.nn.functional.normalize(spans.double(), dim=-1)
    alike = (unit[:, 1:] * unit[:, :-1]).sum(-1)[~own]
    checks = [
        Check(
            "layers/own",
            float(own.sum()),
            f"of {len(own)}",
            "info",
            f"Atoms with more than {_OWN:.0%} of their norm in one layer.",
        ),
        Check(
            "layers/effective",
            float(effective.mean()),
            f"of {share.shape[1]}",
            "info",
            "Effective number of layers of an atom: exp of the entropy of its norms, the mean over atoms.",
        ),
    ]
    if len(alike):
        says = "Mean cosine of a shared atom in adjacent layers: 1 is the same direction."
        checks.append(Check("layers/cosine", float(alike.mean()), "", "info", says))
    return Finding(tuple(checks), (_chart(share),))


def shares(spans: Tensor) -> Tensor:
    r"""Each layer's share of an atom's norms, :math:`\|a_{jl}\| / \sum_m \|a_{jm}\|`, (N, L, D) to (N, L) float64.

    Example:
        >>> shares(torch.tensor([[[3.0, 4.0], [0.0, 5.0]]]))
        tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """
    norms = torch.linalg.vector_norm(spans.detach().double(), dim=-1)
    return norms / norms.sum(1, keepdim=True).clamp_min(1e-30)


def _chart(share: Tensor) -> Chart:
    if share.shape[1] == 2:
        says = "At 0 are atoms of the first layer alone, at 1 of the second, between them shared atoms."
        series = (histogram("atoms", share[:, 1]),)
        return Chart(
            "layers", "Share of the second layer", says, "histogram", series, "share of the norm", "atoms"
        )
    peaks = torch.bincount(share.argmax(1), minlength=share.shape[1])
    return Chart(
        "layers",
        "Atoms by layer",
        "How many atoms have their largest norm in each layer.",
        "bars",
        (Series("atoms", tuple(peaks.double().tolist())),),
        x_label="layers, in order",
        y_label="atoms",
    )
