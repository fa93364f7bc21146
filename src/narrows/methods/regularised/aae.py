"""The adversarial autoencoder."""

import math

from narrows.bottlenecks.deterministic.shaped import Shaped
from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.regularised._assemble import deterministic_autoencoder
from narrows.nets.build import code_width
from narrows.nets.kinds import Net
from narrows.objectives.adversarial import CodeAdversary, code_critic


def aae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    shape: str = "normal",
    weight: Schedule = "auto",
    critic_layers: tuple[int, ...] = (128, 128),
    gradient_penalty: float = 1.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "squared",
) -> Autoencoder:
    r"""An AAE: a deterministic code, matched by a critic to any prior that can be sampled.

    .. math:: \text{autoencoder:}\ E_x[c(x, g(f(x)))] - \lambda\, E_x[\log D(f(x))],\qquad
              \text{critic:}\ -E_{p(z)}[\log D(z)] - E_x[\log(1 - D(f(x)))]

    The paper alternates between a step on the error and one against the critic; here both are terms of one loss. With
    ``shape="normal"`` this is the adversarial form of `wae`.

    Args:
        shape: the prior p: ``normal``, N(0, I); ``gaussians``, ten Gaussians on a circle; ``swiss-roll``; ``ring``,
            uniform between the spheres with radius 1/2 and 1; ``square``, uniform on the cube from -1 to 1.
        weight: lambda, a number or a schedule, relative to the cost of an example. ``auto`` is 0.025 times the number
            of elements of an example, since the cost grows with it.
        critic_layers: widths of the critic's hidden layers. In the paper there are two layers of 1000 units.
        gradient_penalty: weight of half the squared gradient of the critic's logit at draws of the prior. It is not
            in the paper; without it the training tends to oscillate.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = aae((8,), latent=2, shape="gaussians")
        >>> model.sample(3).shape, [player.name for player in model.players()]
        (torch.Size([3, 8]), ['autoencoder', 'critic'])

    Reference:
        Makhzani et al., Adversarial Autoencoders, 2016. arXiv:1511.05644
    """
    spec = as_spec(spec)
    latent = code_width(latent, spec.shape)
    if weight == "auto":
        weight = 0.025 * math.prod(spec.output_shape)
    critic = code_critic(latent, critic_layers)
    return deterministic_autoencoder(
        spec,
        latent,
        net=net,
        likelihood=likelihood,
        bottleneck=Shaped(latent, shape),
        objective=CodeAdversary(latent, weight, critic, gradient_penalty=gradient_penalty),
    )
