"""Numbers as a mode of their column and a place within the mode, as TVAE and CTGAN write them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narrows.core import Spec
from narrows.core.check import whole
from narrows.likelihoods.columns.head import Head

__all__ = ["ModeHead", "fit_modes"]

_ROUNDS = 100
"""The largest number of rounds."""
_SETTLED = 1e-3
"""The rounds end when no weight changes by more."""
_CONCENTRATION = 1e-3
"""Of the Dirichlet prior on the weights: so small that modes without need are left empty."""
_LEAST = 0.005
"""The least weight of a mode."""
_NARROW = 0.01
"""The least deviation of a mode, in deviations of the column."""
_WIDE = 4.0
"""Deviations of a mode that are 1 within it."""
_EMPTY = -1e4
"""The log-weight of a mode that is not used."""


def fit_modes(x: Tensor, modes: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    r"""A mixture of normal distributions of one column, with a Dirichlet prior on the weights by variational Bayes.

    .. math:: r_{nk} \propto e^{\psi(\alpha_k)}\, N(x_n; m_k, s_k^2),\quad \alpha_k = 10^{-3} + \sum_n r_{nk}

    Args:
        x: the cells, (N,); of none the mode is N(0, 1).
        modes: the largest number of modes, M.

    Returns:
        Log-weights, means and deviations, (M,) each; modes of less than half a percent have a log-weight of -1e4.

    Example:
        >>> log_weights, means, _ = fit_modes(torch.cat([torch.randn(500) - 9, torch.randn(500) + 9]), 4)
        >>> bool((means[log_weights > -1].abs() > 8).all())
        True
    """
    cells = x if len(x) else x.new_zeros(1)
    spread = cells.std(correction=0)
    floor = torch.where(spread > 0, _NARROW * spread, 1.0)
    places = (torch.arange(modes, device=x.device, dtype=x.dtype) + 0.5) / modes
    means = cells.unique().quantile(places)  # of distinct values: equal modes would stay equal
    deviations = (spread / math.sqrt(modes)).clamp_min(floor).expand(modes)
    counts = x.new_full((modes,), len(cells) / modes)
    for _ in range(_ROUNDS):
        share = _log_joint(cells, torch.digamma(_CONCENTRATION + counts), means, deviations).softmax(-1)
        before, counts = counts, share.sum(0)
        if float((counts - before).abs().max()) < _SETTLED * len(cells):
            break
        held = counts.clamp_min(1e-6)
        means = torch.where(counts > 1e-6, (share * cells[:, None]).sum(0) / held, means)
        variances = (share * (cells[:, None] - means).square()).sum(0) / held
        deviations = variances.sqrt().clamp_min(floor)
    weights = counts / counts.sum()
    return torch.where(weights > _LEAST, weights.log(), _EMPTY), means, deviations


def _log_joint(x: Tensor, log_weights: Tensor, means: Tensor, deviations: Tensor) -> Tensor:
    """log of weight times density of each mode, (..., M), up to a constant."""
    away = (x[..., None] - means) / deviations
    found: Tensor = log_weights - deviations.log() - 0.5 * away.square()
    return found


class ModeHead(Head):
    r"""Numbers as the most probable mode k of their column, and a place a within it.

    .. math:: -\log p(k \mid z) - \log N\big(a;\, \tanh o, \sigma_d^2\big),\quad a = \frac{x - m_k}{4 s_k}

    The modes are fitted to the training data (`fit_modes`), a is cut to -1 to 1, and sigma is learned for each column.
    Nats are of the pair (k, a), not of x: they are not comparable with those of other likelihoods.

    Args:
        columns: the specs of the columns.
        modes: the largest number of modes of a column, M.

    Raises:
        RequestError: a number of modes below 1.

    Example:
        >>> ModeHead([Spec(()), Spec(())], modes=3).width
        8

    Reference:
        Xu, Skoularidou, Cuesta-Infante and Veeramachaneni, Modeling Tabular Data using Conditional GAN, 2019.
        arXiv:1907.00503
    """

    title = "modes"
    transformed = True

    log_weights: Tensor
    means: Tensor
    deviations: Tensor

    def __init__(self, columns: Sequence[Spec], modes: int = 10) -> None:
        super().__init__(columns)
        count, self.modes = len(self.columns), whole("modes", modes)
        self.width = (self.modes + 1) * count
        self.register_buffer("log_weights", torch.zeros(count, self.modes))
        self.register_buffer("means", torch.zeros(count, self.modes))
        self.register_buffer("deviations", torch.ones(count, self.modes))
        self.log_sigma = nn.Parameter(torch.full((count,), math.log(0.1)))

    @property
    def sigma(self) -> Tensor:
        """The deviation of a of each column, (C,)."""
        return self.log_sigma.exp().clamp(0.01, 1.0)

    @property
    def encoded_owner(self) -> tuple[int, ...]:
        """The column of each number of `encoded`."""
        count = len(self.columns)
        return (*(index for index in range(count) for _ in range(self.modes)), *range(count))

    @torch.no_grad()
    def prepare(self, x: Tensor, observed: Tensor) -> Tensor:
        """Fit the modes; parameters are the shares of the modes, and the middle of each."""
        for index, (cells, there) in enumerate(zip(x.T, observed.T, strict=True)):
            found = fit_modes(cells[there], self.modes)
            for kept, one in zip((self.log_weights, self.means, self.deviations), found, strict=True):
                kept[index] = one
        return torch.cat([self.log_weights.clamp_min(-8).T.flatten(), x.new_zeros(len(self.columns))])

    def place(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mode of each cell and the place within it, (..., C) each."""
        mode = _log_joint(x, self.log_weights, self.means, self.deviations).argmax(-1)
        middle, wide = (self._of(values, mode) for values in (self.means, self.deviations))
        return mode, ((x - middle) / (_WIDE * wide)).clamp(-1, 1)

    def encoded(self, x: Tensor) -> Tensor:
        """One-hot modes, and places within them, (..., (M + 1) C)."""
        mode, a = self.place(x)
        return torch.cat([F.one_hot(mode, self.modes).flatten(-2).to(a.dtype), a], -1)

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log p of mode and place of each cell, (..., C)."""
        log_shares, centre = self._split(parameters)
        mode, a = self.place(x)
        index = mode.unsqueeze(-2).expand(*log_shares.shape[:-2], 1, -1)
        away = (a - centre) / self.sigma
        return (
            0.5 * away.square()
            + (self.sigma * math.sqrt(2 * math.pi)).log()
            - log_shares.gather(-2, index).squeeze(-2)
        )

    def expected(self, parameters: Tensor) -> Tensor:
        """The mean."""
        log_shares, centre = self._split(parameters)
        each = self.means.T + _WIDE * self.deviations.T * centre.unsqueeze(-2)
        return (log_shares.exp() * each).sum(-2)

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw of mode and place."""
        log_shares, centre = self._split(parameters)
        gumbel = -torch.empty_like(log_shares).exponential_().log()
        mode = (log_shares + gumbel).argmax(-2)
        a = (centre + self.sigma * torch.randn_like(centre)).clamp(-1, 1)
        return self._of(self.means, mode) + _WIDE * self._of(self.deviations, mode) * a

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the modes (..., M, C), and the centre of the place (..., C)."""
        logits, centre = parameters.split([self.modes * len(self.columns), len(self.columns)], -1)
        return logits.unflatten(-1, (self.modes, -1)).log_softmax(-2), centre.tanh()

    def _of(self, values: Tensor, mode: Tensor) -> Tensor:
        """Of each column, the entry of a mode, (..., C)."""
        index = torch.arange(len(self.columns), device=mode.device)
        return values[index, mode]
