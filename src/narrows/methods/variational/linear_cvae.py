"""The linear conditional VAE, whose collapsed latents are known in closed form."""

import math

from narrows import likelihoods
from narrows.bottlenecks.gaussian.linear import SharedGaussian
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import refuse
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import checked_vector
from narrows.nets.linear import LinearEncoder
from narrows.nets.mlp import MLP
from narrows.objectives.elbo import Elbo


def linear_cvae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    beta: Schedule = 1.0,
    variance: float = 1.0,
    encoder_variance: float = 0.0,
) -> Autoencoder:
    r"""A CVAE of linear maps: y given x, whose posterior collapse has a closed form.

    .. math:: q(z|x,y) = N(W_1 x + W_2 y + b,\, \mathrm{diag}\, s^2),\quad
              p(y|x,z) = N(U_1 z + U_2 x + c,\, v I)

    With the eigenvalues l_i of :math:`S_{yy} - S_{yx} S_{xx}^{-1} S_{xy}`, latent i is in use at the optimum if
    and only if l_i > beta v; then :math:`s_i^2 = \beta v / l_i` and its divergence is
    :math:`\frac12 \log(l_i / \beta v)`. Without a condition this is the linear VAE, with the eigenvalues of
    the covariance.

    Args:
        spec: description of the data. With a target, an example is x followed by y, and the target is y.
        beta: weight of the KL divergence, a number or a schedule.
        variance: the decoder's variance v, which is fixed.
        encoder_variance: s^2, fixed for all latents; 0 if it is learned.

    Raises:
        RequestError: data that are no vectors of real numbers, or a target that is not shorter than the example.

    Example:
        >>> model = linear_cvae(Spec((6,), target=(4,)), latent=2)
        >>> model.encode(Batch(torch.zeros(3, 6), torch.zeros(3, 4))).z.shape
        torch.Size([3, 4])

    Reference:
        Dang, Tran, Nguyen, Ho, Beyond Vanilla Variational Autoencoders, 2023. arXiv:2306.05023
    """
    spec, latent = checked_vector(as_spec(spec), latent, variance, encoder_variance=encoder_variance)
    given = 0 if spec.target is None else spec.shape[0] - math.prod(spec.target)
    if spec.target is not None and given < 1:
        expected = f"shorter than the example, {spec.shape[0]} numbers, which begin with what is given"
        raise refuse("target", spec.target, expected)
    output = likelihoods.Gaussian(spec.output_shape, "fixed", variance)
    return Autoencoder(
        LinearEncoder(spec.shape, latent, given),
        SharedGaussian(latent, encoder_variance, given),
        MLP((latent + given,), output.parameter_shape, ()),
        output,
        Elbo(beta=beta),
    )
