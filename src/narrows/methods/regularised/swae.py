"""The sliced-Wasserstein autoencoder."""

import math

from narrows.bottlenecks.deterministic.shaped import Shaped
from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.regularised._assemble import deterministic_autoencoder
from narrows.nets.build import code_width
from narrows.nets.kinds import Net
from narrows.objectives.sliced import SlicedWasserstein


def swae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    shape: str = "normal",
    weight: Schedule = "auto",
    slices: int = 50,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "squared",
) -> Autoencoder:
    r"""An SWAE: a deterministic code, matched to any prior that can be sampled by one-dimensional transports.

    .. math:: \min_{f, g} \; E_x[c(x, g(f(x)))] + \lambda\, SW_2^2(f(x), z \sim p),\qquad
              SW_2^2 = \frac{1}{L} \sum_l W_2^2(\theta_l^T f(x), \theta_l^T z)

    Args:
        shape: the prior p: ``normal``, N(0, I); ``ring``, uniform between the spheres with radius 1/2 and 1;
            ``square``, uniform on the cube from -1 to 1; ``gaussians``, ten Gaussians on a circle; ``swiss-roll``.
        weight: lambda, a number or a schedule, relative to the cost of an example. ``auto`` is 0.1 times the number of
            elements of an example, since the cost grows with it.
        slices: number of random directions at each step, L.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> swae((8,), latent=2, shape="ring").sample(3).shape
        torch.Size([3, 8])

    Reference:
        Kolouri et al., Sliced-Wasserstein Autoencoder, 2018. arXiv:1804.01947
    """
    spec = as_spec(spec)
    latent = code_width(latent, spec.shape)
    if weight == "auto":
        weight = 0.1 * math.prod(spec.output_shape)
    return deterministic_autoencoder(
        spec,
        latent,
        net=net,
        likelihood=likelihood,
        bottleneck=Shaped(latent, shape),
        objective=SlicedWasserstein(weight, slices, least_batch=latent),
    )
