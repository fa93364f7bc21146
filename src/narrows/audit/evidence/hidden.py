"""-log p of each cell of a table given the others of its row, by hiding it."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from narrows.audit.evidence.likelihood import rate_of
from narrows.audit.evidence.scores import each_alone
from narrows.core import Autoencoder, Batch, evaluation_mode
from narrows.core.check import whole

__all__ = ["hidden_terms"]

_DRAWN = 64
"""Codes of each example that are held in memory at once."""


def hidden_terms(model: Autoencoder, batch: Batch, samples: int = 64, seed: int = 0) -> Tensor:
    r"""The surprise of each cell under its row without it.

    .. math:: -\log p(x_d \mid x_{-d}) \approx -\log \sum_k \tilde w_k\, p(x_d \mid z_k),\quad
              \tilde w_k \propto \frac{p(x_{-d} \mid z_k)\,p(z_k)}{q(z_k \mid x_{-d})},\quad z_k \sim q(z \mid x_{-d})

    All rows have the same draws, those that a row has in a batch of its own.

    Args:
        model: a model that reads missing cells, whose likelihood is a product over cells given z.
        batch: B rows, (B, D), with the condition ``observed`` where cells are missing.
        samples: K.
        seed: of the draws.

    Returns:
        Nats, (B, D); NaN where a cell is missing.
    """
    samples, count = whole("samples", samples), batch.x.shape[-1]

    def one(row: Batch) -> dict[str, Tensor]:
        return {f"{d}": _hidden(model, row, d, samples) for d in range(count)}

    with evaluation_mode(model):
        found = each_alone(one, batch, seed)
    return torch.stack([found[f"{d}"] for d in range(count)], 1)


def _hidden(model: Autoencoder, row: Batch, column: int, samples: int) -> Tensor:
    """-log p of one cell, (1,)."""
    seen = row.condition.get("observed", torch.ones_like(row.x, dtype=torch.bool))
    cell = torch.zeros(seen.shape[-1], dtype=torch.bool, device=seen.device)
    cell[column] = True
    rest = seen & ~cell
    weight = rest.to(row.x.dtype) if row.weight is None else row.weight * rest
    other = replace(
        row, x=row.x.masked_fill(~rest, 0.0), condition={**row.condition, "observed": rest}, weight=weight
    )
    known, both = [], []
    for start in range(0, samples, _DRAWN):
        passed = model(other, (min(_DRAWN, samples - start),))
        nats = model.likelihood.pass_nll(passed) + rate_of(passed)
        known.append(-nats)
        both.append(-nats - model.likelihood.nll(passed.output, row.target, (seen & cell).to(row.x.dtype)))
    term = torch.cat(known).logsumexp(0) - torch.cat(both).logsumexp(0)
    return torch.where(seen[:, column], term, torch.full_like(term, math.nan))
