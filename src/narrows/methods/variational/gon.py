"""The gradient origin network."""

from torch import nn

from narrows import likelihoods
from narrows.bottlenecks.deterministic.identity import Identity
from narrows.bottlenecks.deterministic.origin import GradientOrigin, checked
from narrows.core import Autoencoder, Likelihood, Objective, Spec, as_spec
from narrows.nets.build import code_width, decoder
from narrows.nets.kinds import Net


def gon(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 48,
    step_size: float = 1.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A GON: a decoder without an encoder, whose code is the gradient of the distortion at the origin.

    .. math:: \min_f \; E_x\, D(x, f(z)),\qquad z = -s\, \nabla_{z_0} D(x, f(z_0)) \big|_{z_0 = 0},\quad
              D(x, f(z)) = -\log p(x|z)

    Training differentiates through the gradient. With a linear f and half the squared error the code is
    :math:`s W^T (x - b)`, and the model a linear autoencoder with tied weights. A step costs more than that of an
    autoencoder with a mirrored encoder, which has twice the parameters.

    Args:
        step_size: s, the scale of the gradient of the sum over all elements.

    Raises:
        RequestError: an argument out of range, counts, or data with targets.

    Example:
        >>> model = gon((8,), latent=2)
        >>> model.features(Batch(torch.randn(5, 8))).shape, list(model.encoder.parameters())
        (torch.Size([5, 2]), [])

    Reference:
        Bond-Taylor and Willcocks, Gradient Origin Networks, 2020. arXiv:2007.02798
    """
    spec = checked(as_spec(spec))
    latent = code_width(latent, spec.shape)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    back = decoder(latent, output.parameter_shape, net)
    return GradientOrigin(
        nn.Identity(), Identity(), back, output, Objective(), latent=latent, scale=step_size
    )
