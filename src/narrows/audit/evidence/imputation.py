"""Missing cells from a model with a posterior: self-normalised importance sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from narrows.audit.evidence.likelihood import log_weights
from narrows.core import Autoencoder, Batch, seeded
from narrows.core.check import whole

__all__ = ["Imputation", "impute"]

_NUMBERS = 1 << 22
"""So many of the decoder's numbers are held at a time."""


@dataclass(frozen=True)
class Imputation:
    """What a model puts into missing cells.

    Args:
        cells: the best single guess for every cell, (B, D): means of numbers, most probable categories.
        draws: M draws of every cell from p(missing | observed), (M, B, D); it says how unsure a guess is.
        ess: effective sample size of each row, (B,), between 1 and the number of samples.
    """

    cells: Tensor
    draws: Tensor
    ess: Tensor


@torch.no_grad()
def impute(
    model: Autoencoder, batch: Batch, samples: int = 1000, draws: int = 0, seed: int = 0
) -> Imputation:
    r"""The conditional mean (or mode) of what is missing, and draws of it, given what is there.

    .. math:: E[x^m \mid x^o] \approx \sum_{l=1}^L v_l\, E[x^m \mid z_l],\quad
              v_l \propto \frac{p(x^o \mid z_l)\, p(z_l)}{q(z_l \mid x^o)},\quad z_l \sim q(z \mid x^o)

    A draw picks l by v_l, then x^m from p(. | z_l): sampling importance resampling.

    Args:
        model: an autoencoder whose code has a posterior and a prior; its mode is left as it was.
        batch: B rows; what is there is its `weight`, and ``observed`` where the encoder must know.
        samples: L, codes drawn for each row.
        draws: M, how many draws of all cells are made beside the best guess.
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
    """The best guess (B, D), draws (M, B, D) and effective sample size (B,) of a few rows."""
    logs, parameters = log_weights(model, batch, samples)
    weights = logs.softmax(0)
    cells = model.likelihood.mixture_mean(parameters, weights)
    if draws:
        chosen = torch.multinomial(weights.T, draws, replacement=True).T  # (M, B)
        picked = parameters[chosen, torch.arange(len(batch), device=chosen.device)]
        drawn = model.likelihood.sample(picked)
    else:
        drawn = cells.new_empty(0, *cells.shape)
    return cells, drawn, 1 / weights.square().sum(0)
