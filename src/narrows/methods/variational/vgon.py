"""The variational gradient origin network."""

from torch import nn

from narrows import likelihoods
from narrows.bottlenecks.deterministic.origin import GradientOrigin, checked
from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.nets.build import code_width, decoder
from narrows.nets.kinds import Net
from narrows.nets.mlp import MLP
from narrows.objectives.elbo import Elbo


def vgon(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 48,
    step_size: float = 1.0,
    beta: Schedule = 1.0,
    free_bits: float = 0.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A variational GON: a VAE whose posterior is read from the gradient of the distortion at the origin.

    .. math:: \log p(x) \ge E_{q(z|x)}[\log p(x|z)] - \mathrm{KL}(q(z|x) \,\|\, N(0, I)),\quad
              q(z|x) = N(\mu(h), \sigma^2(h)),\quad h = s\, \nabla_{z_0} \log p(x|z_0) \big|_{z_0 = 0}

    Instead of an encoder there are two linear maps of h, one to the mean and one to the log-variance.

    Args:
        step_size: s, the scale of the gradient of the sum over all elements.
        beta: weight of the KL divergence, a number or a schedule.

    Raises:
        RequestError: an argument out of range, counts, or data with targets.

    Example:
        >>> model = vgon((8,), latent=2)
        >>> model.sample(3).shape, sum(p.numel() for p in model.encoder.parameters())
        (torch.Size([3, 8]), 12)

    Reference:
        Bond-Taylor and Willcocks, Gradient Origin Networks, 2020, section 3.2. arXiv:2007.02798
    """
    spec = checked(as_spec(spec))
    latent = code_width(latent, spec.shape)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    heads = MLP((latent,), (2 * latent,), ())
    last = heads.layers[-1]
    assert isinstance(last, nn.Linear)
    last.weight.data[latent:].zero_()  # so that large gradients are no large variances to begin with
    return GradientOrigin(
        heads,
        Gaussian(latent),
        decoder(latent, output.parameter_shape, net),
        output,
        Elbo(beta=beta, free_bits=free_bits),
        latent=latent,
        scale=step_size,
    )
