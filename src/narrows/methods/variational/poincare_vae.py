"""The Poincaré VAE."""

from narrows.bottlenecks.manifold.poincare import Poincare
from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.check import whole
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import variational_autoencoder
from narrows.nets.after import After
from narrows.nets.build import code_width
from narrows.nets.gyroplane import Gyroplanes
from narrows.nets.kinds import Net
from narrows.objectives.elbo import Elbo


def poincare_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    curvature: float = 1.0,
    spread: float = 1.0,
    gyroplanes: int = 64,
    beta: Schedule = 1.0,
    free_bits: float = 0.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VAE whose code lies in hyperbolic space, with wrapped normal distributions as posterior and prior.

    .. math:: \log p(x) \ge E_{q(z|x)}[\log p(x|z) + \log p(z) - \log q(z|x)],\quad
              q = N_W(\mu, \mathrm{diag}\, \sigma^2),\; p = N_W(0, s^2 I)

    Volume grows exponentially with the radius, as the number of nodes of a tree does with its depth. The decoder
    begins with a layer of distances to gyroplanes, the hyperbolic form of an affine map.

    Args:
        curvature: c; the curvature of the space is -c.
        spread: the prior's standard deviation, s.
        gyroplanes: the number of gyroplanes; with 0 the decoder reads the coordinates of the ball.
        beta: weight of log q(z|x) - log p(z), a number or a schedule.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = poincare_vae((8,), latent=2)
        >>> bool((model.encode(Batch(torch.randn(5, 8))).z.norm(dim=1) < 1).all()), model.sample(3).shape
        (True, torch.Size([3, 8]))

    Reference:
        Mathieu, Le Lan, Maddison, Tomioka, Teh, Continuous Hierarchical Representations with Poincaré Variational
        Auto-Encoders, 2019. arXiv:1901.06033
    """
    spec = as_spec(spec)
    bottleneck = Poincare(code_width(latent, spec.shape), curvature, spread)
    planes, z = whole("gyroplanes", gyroplanes, low=0), bottleneck.latent
    model = variational_autoencoder(
        spec,
        bottleneck,
        Elbo(beta=beta, free_bits=free_bits),
        widths=(2 * z, planes or z),
        net=net,
        likelihood=likelihood,
    )
    if planes:
        model.decoder = After(Gyroplanes(z, planes, curvature), model.decoder)
    return model
