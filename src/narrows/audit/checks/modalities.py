"""How well the code represents each modality, and which modalities determine it."""

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
"""Least information in nats, below which the code ignores a modality."""


def modalities(view: View) -> Finding:
    """The distortion of each modality from all modalities, from itself and from the others; the experts' shares.

    The information of a code on a modality is the increase of its distortion when the codes of the examples are
    exchanged. Where it is zero, the decoder's output does not depend on the code: the modality is ignored. The rate of
    a modality is that of its own posterior. Where it is zero, the encoder of this modality has collapsed, even if the
    others determine the code so well that nothing else shows it.
    """
    if not isinstance(view.batch.x, Views):
        return Finding()
    batch = view.batch[: min(_ROWS, len(view.batch))].to(device_of(view.model))
    names = batch.x.names
    with torch.no_grad():
        found = {name: _distortions(view, batch, name) for name in names}
        share = _shares(view, batch)
        rates = {name: _rate(view, batch, name) for name in names}
        pictures = [_pictures(view, batch, name) for name in names]
    checks = [
        check for name in names for check in (*_checks(name, found[name]), *_collapse(name, rates[name]))
    ]
    return Finding(tuple(checks), (*_charts(found, share), *(one for one in pictures if one is not None)))


def _distortions(view: View, batch: Batch, name: str) -> dict[str, float]:
    """-log p of one modality in nats, the mean over examples that have it, by the modalities that were encoded."""
    others = tuple(other for other in batch.x.names if other != name)
    m = batch.x.names.index(name)
    here = batch.x.present[:, m]
    found = {}
    for source, names in (("all", batch.x.names), ("alone", (name,)), ("others", others)):
        visible = batch.x.only(*names)
        rows = (here & visible.present.any(1)).nonzero().squeeze(1)
        if len(rows) < 2:
            continue
        z = view.model.encode(replace(batch, x=visible)[rows]).z
        found[source] = _nll(view, batch[rows], z, name)
        if source == "all":
            found["exchanged"] = _nll(view, batch[rows], z.roll(1, 0), name)
    return found


def _rate(view: View, batch: Batch, name: str) -> float | None:
    """KL(q(z | x_m) || p) in nats, the mean over the examples that have the modality m."""
    rows = batch.x.has(name).nonzero().squeeze(1)
    rate = view.model.encode(replace(batch, x=batch.x.only(name))[rows]).costs.get("kl")
    return None if rate is None or not len(rows) else float(rate.double().mean())


def _nll(view: View, batch: Batch, z: Tensor, name: str) -> float:
    one = replace(batch, target=batch.target.only(name))
    parameters = view.model.decode(z, one.condition)
    return float(view.model.likelihood.nll(parameters, one.target, one.weight).double().mean())


def _shares(view: View, batch: Batch) -> Tensor | None:
    """The share of each modality (and, last, the prior) in the posterior's precision, for each latent, (M + 1, Z)."""
    experts = view.model.encode(batch).find(Experts)
    if experts is None:
        return None
    precision = torch.where(experts.present.unsqueeze(-1), experts.scale.double().pow(-2), 0.0)
    precision = torch.cat([precision, torch.ones_like(precision[:, :1])], 1)
    return (precision / precision.sum(1, keepdim=True)).mean(0).cpu()


def _pictures(view: View, batch: Batch, name: str) -> Gallery | None:
    """An image or series, and its translations from every single modality and from all others together."""
    names = batch.x.names
    others = tuple(other for other in names if other != name)
    rows = batch.x.present.all(1).nonzero().squeeze(1)[:_SHOWN]
    if batch.x.values[name].dim() < 3 or not len(rows):
        return None
    sources = {f"from {one}": (one,) for one in (name, *others)}
    sources |= {"from the others": others} if len(others) > 1 else {}
    shown = [("original", batch.target.values[name][rows].cpu())]
    for label, read in sources.items():
        z = view.model.encode(replace(batch, x=batch.x.only(*read))[rows]).z
        mean = view.model.likelihood.mean(view.model.decode(z, batch[rows].condition))
        shown.append((label, mean[name].cpu()))
    says = "Examples with all modalities, and their translations from each modality alone."
    return Gallery(f"translations/{name}", f"Translations to {name}", says, tuple(shown))


def _checks(name: str, nats: Mapping[str, float]) -> list[Check]:
    if "all" not in nats:
        says = "Fewer than two of the examples have it."
        return [Check(f"modality/{name}", None, "nats", "warn", says)]
    says = "-log p of it given the code of all present modalities; the mean over the examples that have it."
    checks = [Check(f"modality/{name}/distortion", nats["all"], "nats", "info", says)]
    information = nats["exchanged"] - nats["all"]
    if information < _LEAST:
        says = (
            f"The code ignores `{name}`: codes of other examples decode it equally well. Use a larger weight "
            "(``weights``), a warm-up of beta, or another decoder."
        )
        checks.append(Check(f"modality/{name}/information", information, "nats", "bad", says))
    else:
        says = "The increase of its distortion with the code of another example."
        checks.append(Check(f"modality/{name}/information", information, "nats", "ok", says))
    if "alone" in nats:
        says = "Its distortion given the code of this modality alone."
        checks.append(Check(f"modality/{name}/alone", nats["alone"], "nats", "info", says))
    if "others" in nats:
        checks.append(_translated(name, nats))
    return checks


def _collapse(name: str, rate: float | None) -> list[Check]:
    if rate is None:
        return []
    if rate >= _LEAST:
        says = "KL(q || p) of the posterior given this modality alone."
        return [Check(f"modality/{name}/rate", rate, "nats", "ok", says)]
    says = (
        f"The posterior given `{name}` alone is the prior (posterior collapse): the code ignores what the encoder of "
        f"`{name}` reads. Use a larger weight (``weights``) or a warm-up of beta."
    )
    return [Check(f"modality/{name}/rate", rate, "nats", "bad", says)]


def _translated(name: str, nats: Mapping[str, float]) -> Check:
    if nats["others"] < nats["exchanged"]:
        says = "Its distortion given the code of the other modalities: the error of a translation."
        return Check(f"modality/{name}/from-others", nats["others"], "nats", "ok", says)
    says = (
        f"A translation to `{name}` from the other modalities is no better than the code of another example. If they "
        "do depend on each other, train on each modality alone too."
    )
    return Check(f"modality/{name}/from-others", nats["others"], "nats", "warn", says)


def _charts(found: Mapping[str, Mapping[str, float]], share: Tensor | None) -> list[Chart]:
    titles = {"all": "all", "alone": "itself", "others": "the others", "exchanged": "another example"}
    charts = []
    for name, nats in found.items():
        shown = [
            (tone, title, nats[key]) for tone, (key, title) in enumerate(titles.items(), 1) if key in nats
        ]
        # Modalities differ by orders of magnitude, so that each has a chart of its own.
        bars = tuple(Series(title, (y,), (float(at),), tone) for at, (tone, title, y) in enumerate(shown))
        says = "-log p of it, by the modalities that were encoded."
        charts.append(
            Chart(f"modalities/{name}", f"Distortion of {name}", says, "bars", bars, "encoded", "nats")
        )
    if share is not None:
        rows = tuple(
            Series(name, tuple(row.tolist())) for name, row in zip((*found, "prior"), share, strict=True)
        )
        charts.append(
            Chart(
                "experts",
                "Share of each modality in the posterior",
                "The share of each expert in the posterior's precision, by latent; where the prior's share is 1, the "
                "latent is unused.",
                "matrix",
                rows,
                columns=tuple(map(str, range(share.shape[1]))),
            )
        )
    return charts
