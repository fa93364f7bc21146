"""The VAE with several weights of the KL divergence at once."""

import math

from narrows import likelihoods
from narrows.bottlenecks.gaussian.multiscale import MultiscaleGaussian
from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.check import refuse
from narrows.nets.build import code_width, net_for
from narrows.nets.kinds import Net
from narrows.nets.logarithm import reading
from narrows.objectives.multiscale import Multiscale


def multiscale_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    betas: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0),
    augment: float = 0.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VAE trained with several weights of the KL divergence at once, each with a variance of its own.

    .. math:: \frac1S \sum_s \Big( E_{q_s(z|x)}[-\log p(x|z)]
              + \beta_s\, \mathrm{KL}(q_s(z|x)\,\|\,p(z)) \Big),\qquad
              q_s(z|x) = N(\mu(x), \mathrm{diag}\, \sigma_s^2(x))

    The decoder learns from codes with little noise and with much. All scales share encoder, mean and decoder, an
    interpretation: the paper does not say in detail what they share. The posterior of the trained model is that of the
    beta nearest to 1.

    Args:
        betas: beta of each scale.
        augment: share of each training batch that is replaced by what the model decodes from the mean codes of these
            examples: augmented training, the paper's other proposal.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = multiscale_vae((8,), latent=2)
        >>> model.loss(Batch(torch.zeros(5, 8))).passed.code.z.shape
        torch.Size([4, 5, 2])

    Reference:
        Chou, Generated Loss, Augmented Training, and Multiscale VAE, 2019. arXiv:1904.10446
    """
    spec = as_spec(spec)
    latent = code_width(latent, spec.shape)
    objective = Multiscale(betas, augment)
    if augment and spec.target is not None:
        raise refuse("augment", augment, "0 for data with targets", "Decoded examples have none.")
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    encoder, decoder = (net_for(net, shape) for shape in (spec.shape, output.parameter_shape))
    own = min(range(len(betas)), key=lambda s: abs(math.log(max(betas[s], 1e-9))))
    return Autoencoder(
        reading(spec, encoder.encoder(spec.shape, (1 + len(betas)) * latent)),
        MultiscaleGaussian(latent, len(betas), own),
        decoder.decoder(latent, output.parameter_shape),
        output,
        objective,
    )
