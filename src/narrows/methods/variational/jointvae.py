"""JointVAE."""

import math

from narrows import likelihoods
from narrows.bottlenecks.discrete.relaxed import GaussianCategorical
from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.schedules import Schedule, at, schedule
from narrows.nets import build
from narrows.nets.kinds import Net
from narrows.nets.logarithm import reading
from narrows.objectives.capacity import Capacity


def jointvae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 10,
    discrete: tuple[int, ...] = (10,),
    capacity: Schedule = "linear:0:5:25000",
    discrete_capacity: Schedule = "linear:0:5:25000",
    gamma: Schedule = 30.0,
    temperature: float = 0.67,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VAE with Z Gaussian latents and categorical ones, each kind with a capacity that grows during training.

    .. math:: E_q[-\log p(x|z, c)] + \gamma\,|E_x R_z - C_z(t)| +
              \gamma\,|E_x R_c - \min(C_c(t), \textstyle\sum_i \log K_i)|

    Without the capacity the categorical latents stay unused. The capacities grow with the step, so a shorter
    training needs shorter schedules. R_c is log K too if all examples have the same category: that is what gamma
    leads to if it is large against the distortion, or if the capacity grows in few steps.

    Args:
        discrete: the number of categories of each categorical latent, such as (10,).
        capacity: of the Gaussian latents, C_z, in nats, a schedule.
        discrete_capacity: of the categorical latents, C_c; never above the sum of log K_i.
        gamma: weight of the distances between rates and capacities. The paper's 30 is for images of 1,024 pixels; with
            fewer, take less in proportion.
        temperature: tau of the Gumbel-softmax.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = jointvae((8,), latent=2, discrete=(3,))
        >>> model.features(Batch(torch.zeros(4, 8))).shape, model.sample(3).shape
        (torch.Size([4, 5]), torch.Size([3, 8]))

    Reference:
        Dupont, Learning Disentangled Joint Continuous and Discrete Representations, 2018. arXiv:1804.00104
    """
    spec = as_spec(spec)
    bottleneck = GaussianCategorical(build.code_width(latent, spec.shape), discrete, temperature)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    goal = schedule(discrete_capacity, "discrete_capacity")
    most = sum(math.log(count) for count in bottleneck.categories)
    goals: dict[str, Schedule] = {
        "kl/continuous": schedule(capacity, "capacity"),
        "kl/discrete": lambda step: min(at(goal, step), most),
    }
    encoder = reading(spec, build.encoder(spec.shape, bottleneck.width + bottleneck.continuous.latent, net))
    decoder = build.decoder(bottleneck.width, output.parameter_shape, net)
    return Autoencoder(encoder, bottleneck, decoder, output, Capacity(goals, gamma=gamma))
