"""The linear hierarchical VAE of two levels."""

from narrows import likelihoods
from narrows.bottlenecks.gaussian.linear import LinearChain
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import refuse, whole
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import checked_vector
from narrows.nets.linear import LinearEncoder
from narrows.nets.mlp import MLP
from narrows.objectives.elbo import Elbo


def linear_hvae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    upper: int = 0,
    beta: Schedule = 1.0,
    variance: float = 1.0,
    encoder_variance: float = 0.0,
    upper_variance: float = 0.0,
) -> Autoencoder:
    r"""A hierarchical VAE of linear maps with two levels, whose upper level collapses or not by its variances.

    .. math:: q(z_1|x) = N(W_1 x + b, S_1),\; q(z_2|z_1) = N(W_2 z_1, S_2),\quad
              p(z_1|z_2) = N(U_2 z_2, I),\; p(x|z_1) = N(U_1 z_1 + c, v I)

    If both encoder variances are learned, q can equal the true posterior whatever U_2, so that the bound does
    not need the upper level, and training leaves it unused; a fixed S_1 brings it into use.

    Args:
        upper: width of z_2; half of that of z_1 if 0.
        beta: weight of both KL divergences, a number or a schedule.
        variance: the decoder's variance v, which is fixed.
        encoder_variance: of z_1, fixed for all latents; 0 if it is learned.
        upper_variance: of z_2, likewise.

    Raises:
        RequestError: data that are no vectors of real numbers, or that have a target.

    Example:
        >>> linear_hvae((6,), latent=4).sample(3).shape
        torch.Size([3, 6])

    Reference:
        Dang, Tran, Nguyen, Ho, Beyond Vanilla Variational Autoencoders, 2023. arXiv:2306.05023
    """
    variances = {"encoder_variance": encoder_variance, "upper_variance": upper_variance}
    spec, latent = checked_vector(as_spec(spec), latent, variance, **variances)
    above = whole("upper", upper, low=0) or max(1, latent // 2)
    if spec.target is not None:
        raise refuse("spec", f"a target of shape {spec.target}", "no target", "With one, fit `linear-cvae`.")
    output = likelihoods.Gaussian(spec.output_shape, "fixed", variance)
    chain = LinearChain((latent, above), (encoder_variance, upper_variance))
    decoder = MLP((latent,), output.parameter_shape, ())
    return Autoencoder(LinearEncoder(spec.shape, latent), chain, decoder, output, Elbo(beta=beta))
