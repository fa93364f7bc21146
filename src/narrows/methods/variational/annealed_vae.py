"""The VAE with a growing capacity of the code."""

from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.capacity import Capacity


def annealed_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 10,
    capacity: Schedule = "linear:0:25:100000",
    gamma: Schedule = 1000.0,
    per: str = "batch",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VAE whose rate is held at a capacity, which grows from 0 during training.

    .. math:: E_{q(z|x)}[-\log p(x|z)] + \gamma \left| E_x \mathrm{KL}(q(z|x)\,\|\,p(z)) - C(t) \right|

    Latents come into use one after the other, those first that lower the distortion most. The capacity grows
    with the step, so a shorter training needs a shorter schedule.

    Args:
        capacity: C in nats, a schedule; by default that of the paper, from 0 to 25 over 100,000 steps.
        gamma: weight of the distance between rate and capacity.
        per: ``batch``, the distance of the mean rate of a batch, as in the paper; or ``example``, the mean of
            the distances, so that every example has the same rate.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = annealed_vae((8,), latent=2, capacity="linear:0:5:1000")
        >>> model.objective.settled(999), model.objective.settled(1000)
        (False, True)

    Reference:
        Burgess et al., Understanding disentangling in beta-VAE, 2018. arXiv:1804.03599
    """
    objective = Capacity({"kl": capacity}, gamma=gamma, per=per)
    return gaussian_autoencoder(as_spec(spec), objective, latent=latent, net=net, likelihood=likelihood)
