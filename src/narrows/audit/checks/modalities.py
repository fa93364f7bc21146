"""What the code holds of each modality, which ones it ignores, and which of them say what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from narrows.audit.evidence.view import View, device_of
from narrows.audit.report.finding import Chart, Check, Finding, Gallery, Series
from narrows.core import Batch, Views
from narrows.core.evidence import Experts

__all__ = ["modalities"]

_ROWS, _SHOWN = 512, 10
_LEAST = 0.02
"""Nats that a code tells of a modality of an example; below this the modality is ignored."""


def modalities(view: View) -> Finding:
    """The distortion of each modality from all that is there, from itself and from the others; who speaks.

    What a code tells of a modality is how much worse the codes of other examples do in its place. Where it tells
    nothing, the decoder gives the same for every example: the modality is ignored.
    """
    if not isinstance(view.batch.x, Views):
        return Finding()
    batch = view.batch[: min(_ROWS, len(view.batch))].to(device_of(view.model))
    names = batch.x.names
    with torch.no_grad():
        found = {name: _distortions(view, batch, name) for name in names}
        share = _shares(view, batch)
        pictures = [_pictures(view, batch, name) for name in names]
    checks = [check for name in names for check in _checks(name, found[name])]
    return Finding(tuple(checks), (*_charts(found, share), *(one for one in pictures if one is not None)))


def _distortions(view: View, batch: Batch, name: str) -> dict[str, float]:
    """-log p of one modality in nats, the mean over examples that have it, by what the code was made of."""
    others = tuple(other for other in batch.x.names if other != name)
    m = batch.x.names.index(name)
    here = batch.x.present[:, m]
    found = {}
    for called, names in (("all", batch.x.names), ("alone", (name,)), ("others", others)):
        seen = batch.x.only(*names)
        rows = (here & seen.present.any(1)).nonzero().squeeze(1)
        if len(rows) < 2:
            continue
        z = view.model.encode(replace(batch, x=seen)[rows]).z
        found[called] = _nll(view, batch[rows], z, name)
        if called == "all":
            found["exchanged"] = _nll(view, batch[rows], z.roll(1, 0), name)
    return found


def _nll(view: View, batch: Batch, z: Tensor, name: str) -> float:
    one = replace(batch, target=batch.target.only(name))
    parameters = view.model.decode(z, one.condition)
    return float(view.model.likelihood.nll(parameters, one.target, one.weight).double().mean())


def _shares(view: View, batch: Batch) -> Tensor | None:
    """The share of each modality (and, last, of the prior) in the posterior's precision, by latent: (M + 1, Z)."""
    experts = view.model.encode(batch).find(Experts)
    if experts is None:
        return None
    precision = torch.where(experts.present.unsqueeze(-1), experts.scale.double().pow(-2), 0.0)
    precision = torch.cat([precision, torch.ones_like(precision[:, :1])], 1)
    return (precision / precision.sum(1, keepdim=True)).mean(0).cpu()


def _pictures(view: View, batch: Batch, name: str) -> Gallery | None:
    """An image or series as it is, and as what every modality on its own, and all others, make of it."""
    names = batch.x.names
    others = tuple(other for other in names if other != name)
    rows = batch.x.present.all(1).nonzero().squeeze(1)[:_SHOWN]
    if batch.x.values[name].dim() < 3 or not len(rows):
        return None
    sources = {f"from {one}": (one,) for one in (name, *others)}
    sources |= {"from the others": others} if len(others) > 1 else {}
    shown = [("original", batch.target.values[name][rows].cpu())]
    for said, read in sources.items():
        z = view.model.encode(replace(batch, x=batch.x.only(*read))[rows]).z
        mean = view.model.likelihood.mean(view.model.decode(z, batch[rows].condition))
        shown.append((said, mean[name].cpu()))
    says = "Examples that have all modalities, and what each of them, on its own, makes of this one."
    return Gallery(f"translations/{name}", f"Translations to {name}", says, tuple(shown))


def _checks(name: str, nats: Mapping[str, float]) -> list[Check]:
    if "all" not in nats:
        says = "Fewer than two of the examples looked at have it."
        return [Check(f"modality/{name}", None, "nats", "warn", says)]
    says = "-log p of it given the code of all that is there; the mean over the examples that have it."
    checks = [Check(f"modality/{name}/distortion", nats["all"], "nats", "info", says)]
    told = nats["exchanged"] - nats["all"]
    if told < _LEAST:
        says = (
            f"The code ignores `{name}`: codes of other examples do as well. Give it more weight (``weights``), a "
            "warm-up of beta, or a decoder that suits it."
        )
        checks.append(Check(f"modality/{name}/told", told, "nats", "bad", says))
    else:
        says = "So many nats worse is its distortion with the code of another example."
        checks.append(Check(f"modality/{name}/told", told, "nats", "ok", says))
    if "alone" in nats:
        says = "Its distortion where the code was made of it alone."
        checks.append(Check(f"modality/{name}/alone", nats["alone"], "nats", "info", says))
    if "others" in nats:
        checks.append(_translated(name, nats))
    return checks


def _translated(name: str, nats: Mapping[str, float]) -> Check:
    if nats["others"] < nats["exchanged"]:
        says = "Its distortion where the code was made of the other modalities: what a translation misses."
        return Check(f"modality/{name}/from-others", nats["others"], "nats", "ok", says)
    says = (
        f"A translation to `{name}` from the other modalities is no better than the code of another example. If they "
        "do tell of it, train on each modality alone too."
    )
    return Check(f"modality/{name}/from-others", nats["others"], "nats", "warn", says)


def _charts(found: Mapping[str, Mapping[str, float]], share: Tensor | None) -> list[Chart]:
    names = tuple(found)
    titles = {"all": "all", "alone": "itself", "others": "the others", "exchanged": "another example"}
    series = tuple(
        Series(title, tuple(found[name].get(key, float("nan")) for name in names), tone=tone)
        for tone, (key, title) in enumerate(titles.items(), 1)
    )
    charts = [
        Chart(
            "modalities",
            "Distortion of each modality",
            f"In the order {', '.join(names)}; by what the code was made of.",
            "bars",
            series,
            x_label="modality",
            y_label="nats",
            columns=names,
        )
    ]
    if share is not None:
        rows = tuple(
            Series(name, tuple(row.tolist())) for name, row in zip((*names, "prior"), share, strict=True)
        )
        charts.append(
            Chart(
                "experts",
                "Which modality says what the code is",
                "The share of each expert in the posterior's precision, by latent; a latent that the prior has whole "
                "is unused.",
                "matrix",
                rows,
                columns=tuple(map(str, range(share.shape[1]))),
            )
        )
    return charts
