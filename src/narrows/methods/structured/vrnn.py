"""The variational recurrent network: a latent at every step of a series.

Chung, Kastner, Dinh, Goel, Courville, Bengio, A Recurrent Latent Variable Model for Sequential Data, NeurIPS 2015.
arXiv:1506.02216
"""

from __future__ import annotations

from narrows import likelihoods
from narrows.bottlenecks.structured.stepwise import Stepwise
from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.check import choice
from narrows.core.schedules import Schedule
from narrows.likelihoods.recurrent import Recurrence, Recurrent, WithSteps
from narrows.nets import build
from narrows.nets.sequence import RNN, StepEncoder
from narrows.objectives.elbo import Elbo

__all__ = ["vrnn"]


def vrnn(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 8,
    width: int = 64,
    inference: str = "filtered",
    beta: Schedule = 1.0,
    likelihood: str | Likelihood = "gaussian:learned",
) -> Autoencoder:
    r"""A VAE at every step, whose prior a recurrent net learns from the steps before.

    .. math:: \log p(x) \ge \sum_t E_q\left[\log p(x_t \mid z_{\le t}, x_{<t})\right]
              - \mathrm{KL}(q(z_t \mid x_{\le t}, z_{<t})\,\|\,p(z_t \mid x_{<t}, z_{<t}))

    In nats a series, over what was observed. The series may have holes, unequal lengths and times; a forecast is a
    hole at the end. Every step has a latent of its own, of width Z, and the likelihood is that of one step. The code
    is the noise of the latents, N(0, I) a priori: see `Stepwise`.

    Args:
        width: width of the recurrent state and of all hidden layers.
        inference: ``filtered`` is the paper's posterior, of the steps so far; ``smoothed`` knows the whole series.
        beta: weight of the divergence, a number or a schedule.

    Raises:
        RequestError: data that are no series, or an argument out of range.

    Example:
        >>> model = vrnn((10, 3), latent=2, width=8)
        >>> model.sample(4).shape
        torch.Size([4, 10, 3])

    Reference:
        Chung et al., A Recurrent Latent Variable Model for Sequential Data, 2015. arXiv:1506.02216
    """
    spec = as_spec(spec, "series")
    length, channels = spec.output_shape
    holes, timed = "observed" in spec.conditions, "times" in spec.conditions
    ahead = choice("inference", inference, ("filtered", "smoothed")) == "smoothed"
    emission = likelihoods.likelihood(likelihood, (channels,), spec.values)
    latent = build.code_width(latent, (2 * channels,))
    core = Recurrence(latent, emission, width=width, holes=holes, timed=timed)
    encoder = StepEncoder(
        channels, width, width=width, observed=holes, ahead=RNN("gru", width) if ahead else None, timed=timed
    )
    return Autoencoder(
        encoder,
        Stepwise(core, width, length),
        WithSteps(channels),
        Recurrent((length, channels), core),
        Elbo(beta=beta),
    )
