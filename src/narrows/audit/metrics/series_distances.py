"""Distances of generated windows from real ones: in time, over channels, and of single values."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.core.check import refuse

__all__ = [
    "autocorrelation",
    "autocorrelation_distance",
    "correlation_distance",
    "spectrum_distance",
    "wasserstein",
]


def autocorrelation(x: Tensor) -> Tensor:
    r"""The autocorrelation of each channel at lags 1 to T - 1, over all windows, (T - 1, C).

    .. math:: r_k = \frac{1}{\sigma^2 N (T - k)} \sum_{n, t} (x_{n,t} - \mu)(x_{n,t+k} - \mu)

    Args:
        x: windows (N, T, C); mean and variance are over windows and steps. A constant channel has 0.

    Example:
        >>> autocorrelation(torch.tensor([[[1.0], [-1.0], [1.0]], [[-1.0], [1.0], [-1.0]]])).flatten()
        tensor([-1.,  1.])
    """
    apart = (x - x.mean((0, 1))).double()
    variance = apart.square().mean((0, 1))
    found = [(apart[:, :-k] * apart[:, k:]).mean((0, 1)) for k in range(1, x.shape[1])]
    return torch.where(variance > 0, torch.stack(found) / variance, 0).to(x.dtype)


def autocorrelation_distance(real: Tensor, made: Tensor) -> float:
    """The mean absolute difference of autocorrelations over lags and channels, from 0 to 2."""
    _check(real, made)
    return float((autocorrelation(real) - autocorrelation(made)).abs().mean())


def spectrum_distance(real: Tensor, made: Tensor) -> float:
    r"""Half the summed absolute difference of the shares of power by frequency, from 0 to 1; the mean over channels.

    Args:
        real: windows (N, T, C).
        made: windows (M, T, C).

    Example:
        >>> t = torch.arange(8.0)
        >>> slow, fast = (torch.sin(torch.pi / 4 * f * t).reshape(1, 8, 1) for f in (1, 2))
        >>> round(spectrum_distance(slow, fast), 4), round(spectrum_distance(slow, 3 * slow), 4)
        (1.0, 0.0)
    """
    _check(real, made)
    shares = []
    for x in (real, made):
        power = torch.fft.rfft(x - x.mean((0, 1)), dim=1).abs().square().mean(0)  # (F, C)
        power[1 : (x.shape[1] + 1) // 2] *= 2  # these stand for a frequency and its negative
        total = power.sum(0)
        shares.append(torch.where(total > 0, power / total, 0))
    return float((shares[0] - shares[1]).abs().sum(0).mean() / 2)


def correlation_distance(real: Tensor, made: Tensor) -> float | None:
    """The mean absolute difference of the correlations of two channels, from 0 to 2; None for one channel."""
    _check(real, made)
    channels = real.shape[2]
    if channels < 2:
        return None
    found = [torch.corrcoef(x.reshape(-1, channels).T.double()).nan_to_num() for x in (real, made)]
    rows, columns = torch.triu_indices(channels, channels, 1)
    return float((found[0] - found[1])[rows, columns].abs().mean())


def wasserstein(real: Tensor, made: Tensor) -> float:
    """The Wasserstein distance of single values in standard deviations of the real ones; the mean over channels.

    Args:
        real: windows (N, T, C).
        made: windows (M, T, C).

    Example:
        >>> x = torch.randn(50, 4, 1)
        >>> round(wasserstein(x, x + 2 * x.std(correction=0)), 4)
        2.0
    """
    _check(real, made)
    one, other = (x.reshape(-1, x.shape[2]).double().sort(0).values for x in (real, made))
    deviation = one.std(0, correction=0)
    # the integral over levels of the difference of quantiles, which are constant between these levels
    levels = torch.cat([torch.arange(1, len(x) + 1) / len(x) for x in (one, other)]).double().sort().values
    widths = torch.diff(levels, prepend=levels.new_zeros(1))
    middle = levels - widths / 2
    quantiles = [x[(middle * len(x)).long().clamp(max=len(x) - 1)] for x in (one, other)]
    found = (widths[:, None] * (quantiles[0] - quantiles[1]).abs()).sum(0)
    return float((found / torch.where(deviation > 0, deviation, 1)).mean())


def _check(real: Tensor, made: Tensor) -> None:
    if real.dim() != 3 or real.shape[1:] != made.shape[1:]:
        raise refuse(
            "made", tuple(made.shape), f"windows of the shape of the real ones, {tuple(real.shape[1:])}"
        )
