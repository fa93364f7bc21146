"""Imputation of missing cells by self-normalised importance sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from narrows.audit.evidence.likelihood import rate_of
from narrows.core import Autoencoder, Batch, seeded
from narrows.core.check import number, refuse, whole

__all__ = ["Imputation", "impute"]

_NUMBERS = 1 << 20
"""Largest number of the decoder's outputs that are held in memory at a time."""
_BETWEEN = 1000
"""Number of draws of each cell, of which the ends of an interval are quantiles."""


@dataclass(frozen=True)
class Imputation:
    """Imputed cells.

    Args:
        cells: a point estimate for every cell, (B, *shape): means of numbers, most probable categories.
        draws: M draws of every cell from p(missing | observed), (M, B, *shape).
        ess: effective sample size of each row, (B,), between 1 and the number of samples; NaN for a code without a
            posterior.
        bounds: the ends of an interval of every cell, (2, B, *shape); (0, B, *shape) if none was requested.
    """

    cells: Tensor
    draws: Tensor
    ess: Tensor
    bounds: Tensor


@torch.no_grad()
def impute(
    model: Autoencoder,
    batch: Batch,
    samples: int = 1000,
    draws: int = 0,
    seed: int = 0,
    interval: float = 0.0,
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
        interval: probability of the central interval of each cell given the observed ones, such as 0.9, between
            quantiles of 1000 draws; 0 for none. Of few values it has at least this probability.

    Raises:
        RequestError: a number of samples or draws that is not positive, or no probability.

    Reference:
        Mattei and Frellsen, MIWAE, 2019, sections 2.3 and 2.4. arXiv:1812.02633
    """
    samples, draws = whole("samples", samples), whole("draws", draws, low=0)
    if not 0 <= number("interval", interval) < 1:
        raise refuse("interval", interval, "a probability below 1, such as 0.9, or 0 for no intervals")
    most = max(samples, draws, _BETWEEN if interval else 0)
    rows = max(1, _NUMBERS // (most * math.prod(model.likelihood.parameter_shape)))
    training = model.training
    model.eval()
    try:
        with seeded(seed):
            rated = model(batch[:1], (1,)).code.rate is not None
        with seeded(seed):
            parts = [
                _some(model, some, samples if rated else 0, draws, interval)
                for some in (batch[first : first + rows] for first in range(0, len(batch), rows))
            ]
    finally:
        model.train(training)
    cells, drawn, ess, bounds = zip(*parts, strict=True)
    return Imputation(torch.cat(cells), torch.cat(drawn, 1), torch.cat(ess), torch.cat(bounds, 1))


def _some(
    model: Autoencoder, batch: Batch, samples: int, draws: int, interval: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The point estimate (B, *shape), draws (M, B, *shape), effective sample size (B,) and bounds of some rows.

    With 0 samples from the one code of each row, which has no effective sample size.
    """
    if samples:
        passed = model.given(batch, (samples,))
        rate = rate_of(passed)
        completion = model.likelihood.complete(passed)
        weights = (-(completion.nll + rate)).softmax(0)
        ess = 1 / weights.square().sum(0)
    else:
        passed = model(batch)
        completion = model.likelihood.complete(replace(passed, output=passed.output[None]))
        weights = torch.ones_like(completion.nll)
        ess = weights.new_full((len(batch),), math.nan)

    def draw(count: int) -> Tensor:
        return completion.draw(torch.multinomial(weights.T, count, replacement=True).T)

    cells = completion.estimate(weights)
    none = cells.new_empty(0, *cells.shape)
    drawn = draw(draws) if draws else none
    return cells, drawn, ess, _bounds(draw(_BETWEEN), interval) if interval else none


def _bounds(drawn: Tensor, interval: float) -> Tensor:
    """The ends of the central interval of draws (M, ...) with at least a probability, (2, ...)."""
    last = len(drawn) - 1
    out = math.floor((1 - interval) / 2 * last)
    ends: Tensor = drawn.sort(0).values[[out, last - out]]
    return ends
