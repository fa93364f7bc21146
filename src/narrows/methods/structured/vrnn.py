"""The variational recurrent network: a latent at every step of a series.

Chung, Kastner, Dinh, Goel, Courville, Bengio, A Recurrent Latent Variable Model for Sequential Data, NeurIPS
2015. arXiv:1506.02216
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
    r"""A VAE at each time step, whose prior is computed by a recurrent net from the previous steps.

    .. math:: \log p(x) \ge \sum_t E_q\left[\log p(x_t \mid z_{\le t}, x_{<t})\right]
              - \mathrm{KL}(q(z_t \mid x_{\le t}, z_{<t})\,\|\,p(z_t \mid x_{<t}, z_{<t}))

    In nats per series, over observed values. The series may have missing values, unequal lengths and times; a
    forecast is imputation at the end. Each step has its own latent, of width Z, and the likelihood is that of
    one step. The code is the noise of the latents, with the prior N(0, I): see `Stepwise`.

    Args:
        width: width of the recurrent state and of all hidden layers.
        inference: ``filtered`` is the paper's posterior, given the steps so far; ``smoothed`` is given the
            whole series.
        beta: weight of the KL divergence, a number or a schedule.

    Raises:
        RequestError: data that are not series, or an argument out of range.

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
