"""TimeVAE: a VAE of windows of series, whose decoder adds a trend, seasons and a residual.

Desai, Freeman, Wang, Beaver, TimeVAE: A Variational Auto-Encoder for Multivariate Time Series Generation, 2021.
arXiv:2111.08095
"""

from __future__ import annotations

from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import number, refuse
from narrows.core.schedules import Schedule
from narrows.likelihoods import Gaussian as GaussianLikelihood
from narrows.nets import build
from narrows.nets.kinds import Net
from narrows.nets.time_decoder import TimeDecoder, seasons_of
from narrows.nets.windows import WindowEncoder
from narrows.objectives.channel_means import ChannelMeans

__all__ = ["timevae"]


def timevae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 8,
    trend: int = 0,
    seasons: str = "",
    residual: bool = True,
    weight: float = 3.0,
    beta: Schedule = 1.0,
    net: str | Net = "conv:50,100,200",
) -> Autoencoder:
    r"""A VAE of windows of series, whose decoder is the sum of a level, a trend, seasons and a residual.

    .. math:: \mathcal{L} = w \Big[ \sum_{tc} (x_{tc} - \hat x_{tc})^2 + \sum_t (\bar x_t - \bar{\hat x}_t)^2 \Big]
              + \mathrm{KL}(q(z|x)\,\|\,N(0, I))

    :math:`\bar x_t` is the mean over the channels of a step. The first sum is, up to a constant, -log p(x | z) of a
    Gaussian with variance 1 / (2 w), so that scores are in nats. ``model.decoder.parts(z)`` are the parts of windows by
    name. With irregular times, trend and seasons are those of the times of the steps. Missing values have no part in
    the loss.

    Args:
        trend: degree of the trend, a polynomial in t / T; 0 for none.
        seasons: numbers of seasons and steps of each: ``24``, or ``24,7x24`` for the hours of a day and the days of a
            week of hourly data. A season depends on the step in the window; of windows with different phases, the code
            must tell the phase.
        residual: whether a net adds what trend and seasons leave.
        weight: w, the weight of both errors.
        beta: weight of the KL divergence, a number or a schedule.

    Raises:
        RequestError: data that are not series, or an argument out of range.

    Example:
        >>> model = timevae((12, 3), latent=2, trend=1, seasons="4")
        >>> model.sample(5).shape
        torch.Size([5, 12, 3])

    Reference:
        Desai et al., TimeVAE: A Variational Auto-Encoder for Multivariate Time Series Generation, 2021.
        arXiv:2111.08095
    """
    spec = as_spec(spec, "series")
    if spec.target is not None:
        raise refuse("target", spec.target, "left out: windows are reconstructed", "Use `vae`.")
    if number("weight", weight) <= 0:
        raise refuse("weight", weight, "a number above 0")
    length, channels = spec.shape
    latent = build.code_width(latent, spec.shape)
    timed = "times" in spec.conditions
    encoder = WindowEncoder((length, channels), holes="observed" in spec.conditions, timed=timed)
    nets = build.net_for(net, encoder.shape)
    encoder.net = nets.encoder(encoder.shape, 2 * latent)
    return Autoencoder(
        encoder,
        Gaussian(latent),
        TimeDecoder(
            latent, (length, channels), trend, seasons_of(seasons), nets if residual else None, timed
        ),
        GaussianLikelihood((length, channels), "fixed", 1 / (2 * weight)),
        ChannelMeans(weight, beta=beta),
    )
