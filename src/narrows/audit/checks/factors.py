"""Disentanglement, for data with known factors."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows.audit.evidence.reseeds import drawn_once, of_all, reseed
from narrows.audit.evidence.view import View
from narrows.audit.metrics.disentanglement import dci, mig, mutual_information, sap
from narrows.audit.metrics.interventions import beta_vae_score, factor_vae_score, irs
from narrows.audit.metrics.modularity import explicitness, infomec, modularity
from narrows.audit.report.finding import Chart, Check, Finding, Series, not_measured
from narrows.core import Sparse
from narrows.kernels.metrics import firings

__all__ = ["disentanglement"]

Array: TypeAlias = NDArray[Any]

_LATENTS, _FEWEST = 32, 100
_DRAWN = 400
"""Number of examples of each evaluation from which the spread is found."""


def disentanglement(view: View) -> Finding:
    """Scores of disentanglement of the codes, and the mutual information of latents and factors."""
    if view.factors is None or len(view) < _FEWEST:
        return Finding()
    codes = _codes(view)
    if codes is None:
        return Finding()
    varying = (view.factors != view.factors[:1]).any(0)
    factors = view.factors[:, varying].numpy()
    if factors.shape[1] == 0:
        return Finding()
    z = codes.double().numpy()
    checks = _scores(z, factors, view.seed)
    names = view.factor_names or tuple(f"factor {k}" for k in range(len(varying)))
    kept = tuple(name for name, varies in zip(names, varying.tolist(), strict=True) if varies)
    return Finding(checks, (_chart(z, factors, kept),))


def _scores(z: Array, factors: Array, seed: int) -> tuple[Check, ...]:
    """All scores; by chance with shuffled factors, their spread from parts of the examples."""
    n = len(z)
    order = np.random.default_rng(seed).permutation(n)
    values, chance = _figures(z, factors, seed), _figures(z, factors[order], seed)

    def again(one: int) -> dict[str, float]:
        rows = drawn_once(n, one, _DRAWN).numpy()
        return _figures(z[rows], factors[rows], one)

    over = reseed(again, seed)
    return tuple(
        _check(name, values[name], chance[name], of_all(over[name].spread, min(n // 2, _DRAWN), n), n)
        if np.isfinite(values[name])
        else not_measured(name, "No value of a factor is shared by five examples.", n)
        for name in _SAYS
    )


_SAYS = {
    "mig": "Mutual information gap: 1 if each factor is encoded in one latent; by chance, with shuffled factors.",
    "dci/disentanglement": "1 if each latent predicts one factor.",
    "dci/completeness": "1 if each factor is predicted by one latent.",
    "dci/informativeness": "Held-out accuracy of a random forest.",
    "sap": "Gap between the two latents that predict a factor best.",
    "factor-vae": "FactorVAE score: 1 if the latent that varies least names the factor that is fixed.",
    "beta-vae": "beta-VAE score: 1 if differences of codes linearly name the factor that both share.",
    "irs": "Interventional robustness: 1 if each latent stays where it is while its factor is fixed.",
    "modularity": "1 if each latent has information on one factor only.",
    "explicitness": "Area under the ROC curve of linear classifiers of the factors' values.",
    "infomec/modularity": "InfoM: 1 if each latent has information on one factor only.",
    "infomec/explicitness": "InfoE: the share of the factors' entropy that a linear classifier predicts.",
    "infomec/compactness": "InfoC: 1 if each factor is in one latent only.",
}


def _check(name: str, value: float, chance: float, over: float, n: int) -> Check:
    by_chance, moves = (number if np.isfinite(number) else None for number in (chance, over))
    return Check(name, value, "", "info", _SAYS[name], by_chance, moves, n)


def _figures(z: Array, factors: Array, seed: int) -> dict[str, float]:
    """The figures by name."""
    scores = dci(z, factors, seed)._asdict()
    named = {f"dci/{name}": value for name, value in scores.items()}
    more = {f"infomec/{name}": value for name, value in infomec(z, factors, seed)._asdict().items()}
    return {
        "mig": mig(z, factors),
        **named,
        "sap": sap(z, factors, seed),
        "factor-vae": factor_vae_score(z, factors, seed),
        "beta-vae": beta_vae_score(z, factors, seed),
        "irs": irs(z, factors),
        "modularity": modularity(z, factors),
        "explicitness": explicitness(z, factors, seed),
        **more,
    }


def _codes(view: View) -> Tensor | None:
    """The coordinates of the dense code that vary most, or the sparse latents that fire most."""
    codes = view.dense
    if codes is None and view.sparse is not None:
        top = firings(view.sparse).argsort(descending=True, stable=True)[:_LATENTS]
        return _columns(view.sparse, top).flatten(1)
    if codes is None and view.indices is not None and isinstance(view.z, Tensor):
        codes = view.z.flatten(1)
    if codes is None:
        return None
    top = codes.var(0).argsort(descending=True, stable=True)[:_LATENTS]
    return codes[:, top.sort().values]


def _columns(z: Tensor | Sparse, chosen: Tensor) -> Tensor:
    """Some latents of a sparse code as a dense tensor."""
    if isinstance(z, Tensor):
        return z[..., chosen]
    matches = z.indices[..., None] == chosen
    return (z.values[..., None] * matches).sum(-2)


def _chart(z: object, factors: object, names: tuple[str, ...]) -> Chart:
    information, entropy = mutual_information(z, factors)  # type: ignore[arg-type]
    known = torch.as_tensor(information / entropy)
    best = known.amax(1).argsort(descending=True, stable=True)[:16].sort().values.tolist()
    rows = tuple(Series(f"latent {j}", tuple(known[j].tolist())) for j in best)
    return Chart(
        "factors",
        "Mutual information of latents and factors",
        "Normalised by the factor's entropy; in a disentangled code each column has one dark cell.",
        "matrix",
        rows,
        columns=names,
    )
