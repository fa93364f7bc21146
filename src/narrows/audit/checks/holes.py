"""Holes of the prior: draws with no code of the data near them; and how many directions the codes use."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from narrows.audit.checks.aggregate import codes_of, prior_draws
from narrows.audit.evidence.view import View, device_of
from narrows.audit.metrics.contours import contours
from narrows.audit.metrics.geometry import effective_rank, nearest
from narrows.audit.report.finding import Chart, Check, Finding, Series

__all__ = ["effective_width", "prior_holes"]

_ROWS = 2000
_SHARE = 0.95
"""The quantile of the distances of codes from each other beyond which a draw lies in a hole."""
_DRAWN = 400
_INSIDE = (0.5, 0.9, 0.99)
"""The shares of draws of the prior inside the contours that are drawn."""
_MANY = 0.25
"""The share of draws in holes that asks for attention; of draws of the codes' own distribution it is 0.05."""


def prior_holes(view: View) -> Finding:
    """The share of draws of the prior that have no code of the data near them."""
    codes = codes_of(view)
    if codes is None:
        return Finding()
    encoded = codes[:_ROWS].flatten(1)
    prior = _draws(view, len(encoded))
    if prior is None or prior.shape[1:] != codes.shape[1:]:
        return Finding()
    prior = prior.flatten(1)
    reach = nearest(encoded, encoded, same=True).quantile(_SHARE)
    empty = nearest(prior, encoded) > reach
    share = float(empty.float().mean())
    many = share > _MANY
    says = (
        "Share of draws of the prior that are farther from every code than 95 % of the codes are from their nearest "
        "neighbour."
    )
    if many:
        says += " Nothing was decoded there in training: draw from a prior that is fitted to the codes (--prior gmm)."
    check = Check("prior/holes", share, "", "warn" if many else "ok", says, n=len(encoded))
    finite = bool(torch.isfinite(prior).all() and torch.isfinite(encoded).all())
    return Finding((check,), (_chart(encoded, prior, empty),) if finite else ())


def _chart(encoded: Tensor, prior: Tensor, empty: Tensor) -> Chart:
    """Codes, contours of the prior and its draws in holes, on the two latents that vary most."""
    width = encoded.shape[1]
    a, b = encoded.var(0).argsort(descending=True, stable=True)[:2].tolist() if width > 1 else (0, 0)
    codes, draws = encoded[:, [a, b]], prior[:, [a, b]]
    holes = draws[empty][:_DRAWN]
    series = [_points("codes of the data", codes[:_DRAWN], 1)]
    if len(holes):
        series.append(_points("draws of the prior in holes", holes, 2))
    if width > 1:
        lines = torch.cat(contours(draws, _INSIDE)).flatten(0, 1)
        series.append(_points("prior: half, 90 % and 99 % of its draws", lines, 0, "segments"))
    says = "The two latents that vary most." if width > 2 else "The code."
    says += " Samples that are drawn where no codes are do not look like data."
    if width > 2:
        says += " Whether a draw lies in a hole is measured in all latents."
    title = "Codes, prior and holes"
    return Chart(
        "aggregate", title, says, "points", tuple(series), x_label=f"latent {a}", y_label=f"latent {b}"
    )


def _points(
    name: str, points: Tensor, tone: int, mark: Literal["", "line", "segments", "arrows"] = ""
) -> Series:
    return Series(name, tuple(points[:, 1].tolist()), tuple(points[:, 0].tolist()), tone, mark)


def _draws(view: View, n: int) -> Tensor | None:
    """n codes of what draws samples: the second stage if there is one, else the method's own prior."""
    second = view.model.prior
    if second is None:
        return prior_draws(view, n)
    rows, device = torch.arange(n) % len(view.batch), device_of(view.model)
    condition = {name: value[rows].to(device) for name, value in view.batch.condition.items()}
    z = view.model.bottleneck.from_symbols(second.sample(n, condition)).z
    return z.cpu() if isinstance(z, Tensor) else None


def effective_width(view: View) -> Finding:
    """The effective rank of the codes."""
    codes = codes_of(view)
    if codes is None or codes.dim() != 2 or codes.shape[1] < 2:
        return Finding()
    few: Tensor = codes[: max(_ROWS, 10 * codes.shape[1])]
    if not bool(torch.isfinite(few).all()):
        return Finding()
    says = f"Exponential of the entropy of the codes' singular values, of {codes.shape[1]} directions."
    return Finding((Check("effective-rank", effective_rank(few), "directions", "info", says, n=len(few)),))
