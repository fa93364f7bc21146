"""Imputation of missing cells by self-normalised importance sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from narrows.audit.evidence.likelihood import rate_of
from narrows.core import Autoencoder, Batch, seeded
from narrows.core.check import whole

__all__ = ["Imputation", "impute"]

_NUMBERS = 1 << 22
"""Largest number of the decoder's outputs that are held in memory at a time."""


@dataclass(frozen=True)
class Imputation:
    """Imputed cells.

    Args:
        cells: a point estimate for every cell, (B, *shape): means of numbers, most probable categories.
        draws: M draws of every cell from p(missing | observed), (M, B, *shape).
        ess: effective sample size of each row, (B,), between 1 and the number of samples; NaN for a code without a
            posterior.
    """

    cells: Tensor
    draws: Tensor
    ess: Tensor


@torch.no_grad()
def impute(
    model: Autoencoder, batch: Batch, samples: int = 1000, draws: int = 0, seed: int = 0
) -> Imputation:
    r"""The conditional mean (or mode) of the missing cells given the observed ones, and draws of them.

    .. math:: E[x^m \mid x^o] \approx \sum_{l=1}^L v_l\, E[x^m \mid z_l],\quad
              v_l \propto \frac{p(x^o \mid z_l)\, p(z_l)}{q(z_l \mid x^o)},\quad z_l \sim q(z \mid x^o)

    A draw picks l by v_l, then x^m from p(. | z_l): sampling importance resampling. A code without a posterior has no
    such weights: then :math:`E[x^m \mid z]` and draws from p(. | z) of the one code of a row.

    Args:
        model: an autoencoder; its mode is restored afterwards.
        batch: B rows; observed cells have `weight` 1, and the condition ``observed`` if the encoder needs it.
        samples: L, codes drawn for each row.
        draws: M, the number of draws in addition to the point estimate.
        seed: of the codes and the draws.

    Reference:
        Mattei and Frellsen, MIWAE, 2019, sections 2.3 and 2.4. arXiv:1812.02633
    """
    samples, draws = whole("samples", samples), whole("draws", draws, low=0)
    rows = max(1, _NUMBERS // (samples * math.prod(model.likelihood.parameter_shape)))
    training = model.training
    model.eval()
    try:
        with seeded(seed):
            rated = model(batch[:1], (1,)).code.rate is not None
        with seeded(seed):
            parts = [
                _some(model, some, samples, draws) if rated else _decoded(model, some, draws)
                for some in (batch[first : first + rows] for first in range(0, len(batch), rows))
            ]
    finally:
        model.train(training)
    cells, drawn, ess = zip(*parts, strict=True)
    return Imputation(torch.cat(cells), torch.cat(drawn, 1), torch.cat(ess))


def _some(model: Autoencoder, batch: Batch, samples: int, draws: int) -> tuple[Tensor, Tensor, Tensor]:
    """The point estimate (B, *shape), draws (M, B, *shape) and effective sample size (B,) of some rows."""
    passed = model(batch, (samples,))
    rate = rate_of(passed)
    completion = model.likelihood.complete(passed)
    weights = (-(completion.nll + rate)).softmax(0)
    cells = completion.estimate(weights)
    if draws:
        drawn = completion.draw(torch.multinomial(weights.T, draws, replacement=True).T)
    else:
        drawn = cells.new_empty(0, *cells.shape)
    return cells, drawn, 1 / weights.square().sum(0)


def _decoded(model: Autoencoder, batch: Batch, draws: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same from the one code of each row: the decoded mean, draws given the code, and no sample size."""
    passed = model(batch)
    completion = model.likelihood.complete(replace(passed, output=passed.output[None]))
    cells = completion.estimate(completion.nll.new_ones(completion.nll.shape))
    same = torch.zeros(draws, len(batch), dtype=torch.long, device=cells.device)
    drawn = completion.draw(same) if draws else cells.new_empty(0, *cells.shape)
    return cells, drawn, cells.new_full((len(batch),), math.nan)
