"""Imputation of missing cells by self-normalised importance sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
        ess: effective sample size of each row, (B,), between 1 and the number of samples.
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

    A draw picks l by v_l, then x^m from p(. | z_l): sampling importance resampling.

    Args:
        model: an autoencoder whose code has a posterior and a prior; its mode is restored afterwards.
        batch: B rows; observed cells have `weight` 1, and the condition ``observed`` if the encoder needs it.
        samples: L, codes drawn for each row.
        draws: M, the number of draws in addition to the point estimate.
        seed: of the codes and the draws.

    Raises:
        RequestError: the code has no rate.

    Reference:
        Mattei and Frellsen, MIWAE, 2019, sections 2.3 and 2.4. arXiv:1812.02633
    """
    samples, draws = whole("samples", samples), whole("draws", draws, low=0)
    rows = max(1, _NUMBERS // (samples * math.prod(model.likelihood.parameter_shape)))
    training = model.training
    model.eval()
    try:
        with seeded(seed):
            parts = [
                _some(model, batch[first : first + rows], samples, draws)
                for first in range(0, len(batch), rows)
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
