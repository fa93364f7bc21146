"""The diffusion VAE."""

from narrows.bottlenecks.manifold.diffusion import Diffusion
from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import variational_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.elbo import Elbo


def diffusion_vae(
    spec: Spec | tuple[int, ...],
    *,
    manifold: str = "torus",
    latent: int | None = None,
    time: float = 0.0,
    walk: int = 10,
    beta: Schedule = 1.0,
    free_bits: float = 0.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VAE whose code lies on a closed manifold, with Brownian motion as its posterior.

    .. math:: \log p(x) \ge E_{q_t(z|x)}[\log p(x|z)] - \mathrm{KL}(q_t \,\|\, U(M)),\qquad
              z_{s+1} = P\big(z_s + \sqrt{t / S}\; \epsilon_s\big)

    For data with such a shape, such as images under rotations or cyclic shifts, the code can be continuous without
    folds. The encoder puts out the start of the motion and its time t. The width of the code follows from the
    manifold: 2 for ``circle``, 3 for ``sphere``, 4 for ``torus``, 9 for ``so3`` and ``rp2``.

    Args:
        manifold: ``circle``, ``sphere``, ``torus`` (of two circles), ``so3`` (rotations of space, as matrices), or
            ``rp2`` (the projective plane, as projections onto lines).
        time: the largest t; with 0 the largest for which the formula of the KL divergence is used, 1, and 0.4 on
            ``rp2``.
        walk: steps of the random walk, S.
        beta: weight of the KL divergence, a number or a schedule.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = diffusion_vae((8,), manifold="torus")
        >>> model.features(Batch(torch.randn(5, 8))).shape, model.sample(3).shape
        (torch.Size([5, 4]), torch.Size([3, 8]))

    Reference:
        Perez Rey, Menkovski, Portegies, Diffusion Variational Autoencoders, 2019. arXiv:1901.08991
    """
    spec, bottleneck = as_spec(spec), Diffusion(manifold, latent or 0, time, walk)
    objective, widths = Elbo(beta=beta, free_bits=free_bits), (bottleneck.latent + 1, bottleneck.latent)
    return variational_autoencoder(spec, bottleneck, objective, widths=widths, net=net, likelihood=likelihood)
